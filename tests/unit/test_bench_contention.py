"""The meter of contention, and the note that keeps a busy machine's ratios from being believed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fx2ait_core.bench import benchmark as bench
from fx2ait_core.bench.contention import ACCEPTED, ContentionMeter


def account(folder: Path, **threads: str) -> None:
    for name, text in threads.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "schedstat").write_text(text)


def test_the_share_is_waiting_over_waiting_and_running_since_the_start(tmp_path: Path) -> None:
    account(tmp_path, a="100 900 3", b="50 50 1")
    meter = ContentionMeter(tmp_path)
    assert meter.share is None  # nothing has run yet
    account(tmp_path, a="400 1000 9", b="350 150 2")
    assert meter.share == pytest.approx(200 / 800)
    meter.start()
    account(tmp_path, a="500 1000 10", c="100 0 1")  # a quiet stretch, with a new thread
    assert meter.share == 0.0


def test_without_an_account_nothing_is_claimed(tmp_path: Path) -> None:
    assert ContentionMeter(tmp_path / "absent").share is None
    account(tmp_path, a="no numbers")
    assert ContentionMeter(tmp_path).share is None


class Engine:
    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model
        self.manifest = {
            "name": "row",
            "precision": "float32",
            "target": {"name": "cpu", "arch": "x86-64"},
            "symbols": {},
            "inputs": [{"name": "row", "shape": [2, 4], "dtype": "float32"}],
            "plugins": {},
        }

    def __call__(self, row: torch.Tensor) -> torch.Tensor:
        return self.model(row)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("share", "is_noted"), [(0.004, False), (ACCEPTED, False), (0.48, True), (None, False)]
)
def test_a_busy_machine_is_noted_and_a_quiet_one_is_not(
    monkeypatch: pytest.MonkeyPatch, share: float | None, is_noted: bool
) -> None:
    monkeypatch.setattr(ContentionMeter, "share", property(lambda meter: share))
    model = torch.nn.Linear(4, 3).eval()
    report = bench.benchmark(Engine(model), model, rivals=(), rounds=1)
    assert report.contention == share
    assert any("the machine was busy" in note and "48%" in note for note in report.notes) is is_noted
