"""Checks and measurements of a whole engine, on the CPU: bit-equality, memory, host time, layers."""

from __future__ import annotations

import itertools
from concurrent.futures import Future
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fx2ait_core as fx2ait
from fx2ait_core.bench import trust
from fx2ait_core.bench.benchmark import benchmark
from fx2ait_core.bench.host import host_time
from fx2ait_core.bench.layers import layers
from fx2ait_core.bench.memory import engine_bytes
from fx2ait_core.bench.rivals import EngineRival, Rival
from fx2ait_core.bench.roofline import Peaks
from fx2ait_core.bench.trust import (
    differing_after_another_process,
    differing_on_filled_memory,
    differing_repeats,
    differing_together,
    new_tensors_are_nan,
)
from fx2ait_core.runtime.engine import Engine


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.second = torch.nn.Conv2d(16, 16, 1, stride=2)
        self.head = torch.nn.Linear(16, 7)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.second(torch.relu(self.first(image))))
        return self.head(torch.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


@pytest.fixture(scope="module")
def model() -> torch.nn.Module:
    return Net().eval()


@pytest.fixture(scope="module")
def engine(model: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    cache: Path = tmp_path_factory.mktemp("cache")
    settings = fx2ait.Settings(cache_dir=cache, threads=2, tune=False)
    made = fx2ait.compile(
        model,
        torch.randn(2, 3, 12, 12),
        target="cpu",
        dynamic_batch=(1, 4),
        tune_batches=[1, 4],
        settings=settings,
    )
    assert isinstance(made, Engine)
    return made


def image(batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, 3, 12, 12)


def test_an_engine_repeats_itself(engine: Engine) -> None:
    assert differing_repeats(engine, [image()], 20) == 0
    assert differing_on_filled_memory(engine, [image()]) == 0
    twins = [engine, engine.twin()]
    assert differing_together(twins, [[image(1)], [image(4)]], 3) == 0


def test_processes_after_one_another_answer_the_same(engine: Engine, tmp_path: Path) -> None:
    path = engine.save(tmp_path / "net.fx2ait")
    assert differing_after_another_process(fx2ait.load, path, [[image(1)], [image(4)]], 2) == 0


def test_a_process_that_answers_otherwise_is_seen(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = engine.save(tmp_path / "net.fx2ait")
    same, other = np.zeros(3, np.int32), np.array([0, 1, 0], np.int32)
    answers = iter([[[same], [same]], [[same], [other]]])

    class Pool(AbstractContextManager):  # type: ignore[type-arg]
        def __init__(self, *given: Any, **options: Any) -> None: ...
        def __exit__(self, *fault: object) -> None: ...
        def submit(self, *given: Any) -> Future[Any]:
            done: Future[Any] = Future()
            done.set_result(next(answers))
            return done

    monkeypatch.setattr(trust, "ProcessPoolExecutor", Pool)
    assert differing_after_another_process(fx2ait.load, path, [[image(1)], [image(4)]], 2) == 1


def test_what_does_not_repeat_itself_is_seen() -> None:
    calls = itertools.count()

    def drifting(x: torch.Tensor) -> torch.Tensor:
        return x + (1e-7 if next(calls) % 5 == 3 else 0.0)

    assert differing_repeats(drifting, [torch.ones(4)], 10) == 2

    class Leaky:
        fill = 0

        def __call__(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return x, torch.full((2,), float("nan") if self.fill else 0.0)

        def fill_activations(self, byte: int = 0xFF) -> None:
            self.fill = byte

    assert differing_on_filled_memory(Leaky(), [torch.ones(3)]) == 8
    shapes = itertools.count(3)
    assert differing_repeats(lambda x: torch.ones(next(shapes)), [torch.ones(1)], 2) == 2
    with pytest.raises(ZeroDivisionError):
        differing_together([lambda x: x, lambda x: x[0] if next(calls) < 12 else 1 / 0], [[image()]] * 2, 2)


def test_nan_equals_nan() -> None:
    assert differing_repeats(lambda x: x, [torch.full((3,), torch.nan)], 3) == 0


def test_new_tensors_are_nan_inside_only() -> None:
    with new_tensors_are_nan():
        assert torch.empty_strided((100,), (1,)).isnan().all()
    assert not torch.are_deterministic_algorithms_enabled()


def test_host_time_is_told(engine: Engine) -> None:
    told = host_time(engine, [image(1)], rounds=5)
    assert 0 < told.run_us < 1e5
    assert told.graph_us is None
    assert told.beyond_us == pytest.approx(told.call_us - told.run_us)
    assert told.rounds == 5
    limited = host_time(engine, [image(1)], limit_s=0)
    assert 10 < limited.rounds < 200, "enough for a median, and no more once the time is over"


def test_memory_is_that_of_the_smallest_bucket(engine: Engine) -> None:
    small, large = (engine_bytes(engine.manifest, batch) for batch in (1, 2))
    assert 0 < small < large == engine_bytes(engine.manifest, 4)
    with pytest.raises(ValueError, match="serves no batch of 5"):
        engine_bytes(engine.manifest, 5)


def test_another_engine_is_measured_beside(engine: Engine, model: torch.nn.Module) -> None:
    rivals: list[Any] = [Rival("eager", torch.float32), EngineRival("fx2ait_other", engine.twin())]
    report = benchmark(engine, model, [1, 4], rivals, rounds=2, threads=2)
    assert report.paths == ("fx2ait", "eager", "fx2ait_other")
    row = report.row(4, "fx2ait_other")
    assert row is not None
    assert row.relative_l2 < 1e-5


def test_layers_of_an_engine(engine: Engine) -> None:
    report = layers(engine, [1, 4], Peaks({"float32": 1.0}, 10.0, "documented"), sample_ms=0.1, rounds=2)
    one, four = report.tables
    assert [layer.node for layer in one.layers] == [layer.node for layer in four.layers]
    first, second = four.layers[:2]
    assert first.flops == 4 * 2 * 16 * 12 * 12 * 27
    assert first.bytes == 4 * (4 * 3 * 144 + 16 * 27 + 16 + 4 * 16 * 144)
    assert second.flops == 4 * 2 * 16 * 16 * 36
    assert second.bytes == 4 * (4 * 16 * 36 + 16 * 16 + 16 + 4 * 16 * 36), "a quarter of its input"
    assert all(layer.us > 0 and layer.share > 0 for layer in four.layers)
    assert four.floor_us == pytest.approx(sum(layer.floor_us for layer in four.layers))
    assert four.share > 0
