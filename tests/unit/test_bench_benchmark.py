"""The benchmark: every path measured in turns, checked, and reported; refusals before any work."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fx2ait_core.bench.benchmark import BenchmarkReport, BenchmarkRow, benchmark
from fx2ait_core.bench.environment import Environment, commit, environment
from fx2ait_core.bench.nvml import Clocks
from fx2ait_core.bench.rivals import Rival, usual_rivals
from fx2ait_core.bench.timing import TimedPath, interleaved
from fx2ait_core.errors import EngineInputError, MissingDependencyError
from fx2ait_core.report.columns import benchmark_cells, byte_count
from fx2ait_core.report.markdown import markdown
from fx2ait_core.report.plain import benchmark_record, plain, to_json
from fx2ait_core.report.plot import plot_benchmark

MODEL = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 3)).eval()
MANIFEST: dict[str, Any] = {
    "name": "small",
    "precision": "float32",
    "target": {"name": "cpu", "arch": "x86-64"},
    "symbols": {"batch": {"min": 1, "max": 4}},
    "inputs": [{"name": "image", "shape": ["batch", 3, 8, 8], "dtype": "float32"}],
    "plugins": {"fx2ait-conv": "0.1.0"},
}
CPU = torch.device("cpu")


class Pretender:
    manifest = MANIFEST

    def __init__(self) -> None:
        self.model = copy.deepcopy(MODEL)

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        return self.model(image)  # type: ignore[no-any-return]


EAGER = (Rival("eager", torch.float32), Rival("eager_channels_last", torch.float32, channels_last=True))


def test_rows_have_every_figure() -> None:
    report = benchmark(Pretender(), MODEL, [1, 4], EAGER, rounds=3, threads=1)
    assert [(row.batch, row.path) for row in report.rows] == [
        (batch, path) for batch in (1, 4) for path in ("fx2ait", "eager", "eager_channels_last")
    ]
    for row in report.rows:
        assert 0 < row.ms_min <= row.ms_median <= row.ms_max
        assert row.images_per_s == pytest.approx(row.batch * 1e3 / row.ms_median)
        assert row.relative_l2 < 1e-5
    assert report.baseline == "eager"
    speedup = report.speedup(4)
    assert speedup is not None
    assert speedup > 0
    assert report.environment.threads == 1
    assert report.environment.versions["fx2ait-conv"] == "0.1.0"


def test_a_wrong_engine_shows_in_its_rows() -> None:
    engine = Pretender()
    with torch.no_grad():
        engine.model[0].weight *= 1.5
    report = benchmark(engine, MODEL, [2], EAGER[:1], rounds=1)
    wrong, right = report.row(2, "fx2ait"), report.row(2, "eager")
    assert wrong is not None
    assert right is not None
    assert wrong.relative_l2 > 0.1
    assert right.relative_l2 < 1e-5


def test_a_rival_that_fails_is_a_note_and_the_others_go_on() -> None:
    class Broken(Rival):
        def prepare(self, *arguments: Any) -> TimedPath:
            raise RuntimeError("no compiler\nwith more lines")

    broken = Broken("torch_compile", torch.float32, compile_mode="max-autotune")
    report = benchmark(Pretender(), MODEL, None, [*EAGER, broken], rounds=1)
    assert report.paths == ("fx2ait", "eager", "eager_channels_last")
    assert report.notes[0] == "torch_compile max-autotune at batch 1 could not run: RuntimeError: no compiler"


def test_the_faster_of_two_modes_is_the_row_and_holds_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    delays = {"slow": 4_000_000, "fast": 10}

    def prepare(self: Rival, model: Any, inputs: Any, device: Any) -> TimedPath:
        def call() -> torch.Tensor:
            torch.arange(delays[self.compile_mode or ""]).sum()
            return MODEL(inputs[0])  # type: ignore[no-any-return]

        return TimedPath(call)

    monkeypatch.setattr(Rival, "prepare", prepare)
    rivals = [Rival("torch_compile", torch.float32, compile_mode=mode) for mode in delays]
    report = benchmark(Pretender(), MODEL, [1], rivals, rounds=2)
    row = report.row(1, "torch_compile")
    assert row is not None
    assert row.detail == "fast"
    assert len(report.rows) == 2
    assert set(row.slower) == {"slow"}
    assert row.slower["slow"] > row.ms_median
    ours = report.row(1, "fx2ait")
    assert ours is not None
    assert not ours.slower


def test_batches_outside_the_range_are_refused_before_work() -> None:
    engine = Pretender()
    engine.model = None  # type: ignore[assignment]  # a call would fail otherwise
    with pytest.raises(EngineInputError, match=r"batch 5, 9 is outside what the engine accepts: 1 to 4"):
        benchmark(engine, MODEL, [1, 5, 9])


def test_every_round_measures_every_path_and_the_order_turns() -> None:
    order: list[str] = []
    active: list[str] = []

    class Context:
        def __enter__(self) -> None:
            active.append("in")

        def __exit__(self, *error: object) -> None:
            active.pop()

    def path(name: str) -> TimedPath:
        def call() -> None:
            assert active == ["in"]
            if not order or order[-1] != name:
                order.append(name)
            torch.arange(3_000_000).sum()

        return TimedPath(call, Context)

    timings = interleaved({name: path(name) for name in "abc"}, CPU, rounds=3, warmup=1)
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"
    assert {timing.rounds for timing in timings.values()} == {3}


def test_rivals_leave_the_model_alone_and_run_as_named() -> None:
    model = copy.deepcopy(MODEL).train()
    given = (torch.randn(2, 3, 8, 8),)
    path = Rival("x", torch.float64, channels_last=True).prepare(model, given, CPU)
    answer: Any = path.call()
    assert answer.dtype == torch.float64
    assert not answer.requires_grad
    assert model.training
    assert model[0].weight.dtype == torch.float32
    assert not model[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert [rival.path for rival in usual_rivals("cuda")] == [
        "eager_fp16",
        "eager_fp16_channels_last",
        "torch_compile",
    ]
    assert [r.compile_mode for r in usual_rivals("cuda", ["max-autotune", "default"])[2:]] == [
        "max-autotune",
        "default",
    ]


def made_report() -> BenchmarkReport:
    surroundings = Environment(
        "A Card", "580.1", Clocks(1500, 2600, 1980, 2619), 2, {"torch": "2.11", "python": "3.11"}, "abc"
    )
    rows = (
        BenchmarkRow(1, "fx2ait", 0.2, 0.19, 0.23, 5000.0, 1e-3),
        BenchmarkRow(1, "eager_fp16", 1.6, 1.5, 1.7, 625.0, 2e-3),
        BenchmarkRow(1, "torch_compile", 0.3, 0.29, 0.31, 3333.3, 2e-3, "reduce-overhead"),
        BenchmarkRow(256, "fx2ait", 3.0, 2.9, 3.1, 85333.3, 1e-3),
        BenchmarkRow(256, "eager_fp16", 9.0, 8.9, 9.1, 28444.4, 2e-3),
    )
    return BenchmarkReport("resnet18", "cuda", "fp16", "eager_fp16", 20, surroundings, rows)


def test_the_table_has_baseline_engine_speedup_and_rivals() -> None:
    text = markdown(benchmark_cells(made_report()))
    lines = text.splitlines()
    assert "A Card" in lines[0]
    assert "SM clock 1500 of 1980 MHz" in lines[0]
    assert lines[2] == (
        "| batch | PyTorch eager fp16 (ms) | images/s | fx2ait (ms) | images/s | speedup "
        "| torch.compile (ms) | speedup | relative L2 |"
    )
    assert lines[4] == (
        "| 1 | 1.600 ±0.100 | 625 | 0.200 ±0.020 | 5,000 | 8.00x | 0.300 ±0.010 | 1.50x | 1.0e-03 |"
    )
    assert lines[5].endswith("| 3.00x | – | – | 1.0e-03 |")


def test_the_record_has_the_published_form() -> None:
    record = benchmark_record(made_report(), "fx2ait run resnet18")
    assert {"card", "driver", "versions", "commit", "command", "rows"} <= set(record)
    assert set(record["rows"][0]) >= {
        "batch",
        "path",
        "ms_median",
        "ms_min",
        "ms_max",
        "images_per_s",
        "relative_l2",
    }
    assert json.loads(to_json(record)) == record


def test_plain_data_is_always_json() -> None:
    value = {1: float("inf"), "path": Path("a"), "set": {2, 1}, "error": ValueError("x"), "n": object}
    assert json.loads(json.dumps(plain(value)))["1"] == "inf"
    assert byte_count(999) == "999 B"
    assert byte_count(12_345_678) == "12.3 MB"
    assert byte_count(3_210_000_000) == "3.21 GB"


def test_a_plot_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot_benchmark(made_report(), tmp_path / "speed.png")
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")


def test_a_plot_without_matplotlib_names_the_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'fx2ait-core\[plot\]'"):
        plot_benchmark(made_report(), tmp_path / "speed.png")


def test_the_commit_is_read_from_git_files(tmp_path: Path) -> None:
    inside = tmp_path / "repo" / "src" / "file.py"
    git = tmp_path / "repo" / ".git"
    git.mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert commit(inside) is None
    (git / "packed-refs").write_text("# pack-refs\n1234abcd refs/heads/main\n")
    assert commit(inside) == "1234abcd"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "refs" / "heads" / "main").write_text("5678ef\n")
    assert commit(inside) == "5678ef"
    (git / "HEAD").write_text("9abc\n")
    assert commit(inside) == "9abc"
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / ".git").write_text(f"gitdir: {git}\n")
    assert commit(linked / "x") == "9abc"


def test_the_environment_names_the_processor() -> None:
    seen = environment(CPU)
    assert seen.card
    assert seen.driver is None
    assert "torch" in seen.versions
