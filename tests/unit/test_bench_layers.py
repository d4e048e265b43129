"""Layers beside their floors: peaks, arithmetic of the report, its table and its record."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import torch

from fx2ait_core.bench import layers as module
from fx2ait_core.bench.layers import LayerReport, layers, peaks_of
from fx2ait_core.bench.roofline import Peaks, documented_peaks, measured_peaks
from fx2ait_core.bench.timing import FEWEST_ROUNDS, interleaved
from fx2ait_core.errors import ArtifactError, EngineInputError
from fx2ait_core.report.layers import layer_cells, layers_record
from fx2ait_core.report.plain import to_json
from fx2ait_core.runtime.library import LaunchTime

PEAKS = Peaks({"float16": 100.0, "float32": 10.0}, 1000.0, "documented")


def launch(node: str, kernel: str, operands: list[str], **work: Any) -> dict[str, Any]:
    return {
        "node": node,
        "kernel": kernel,
        "description": "test.op: float16[batch, 3] channels_last, float16[3] -> float16[batch, 3]",
        "operands": operands,
        "work": {"flops": 0, "bytes": 0, "dtype": "float16", "inputs": {}, **work},
    }


MANIFEST: dict[str, Any] = {
    "name": "pair",
    "precision": "float16",
    "target": {"name": "cpu", "arch": "sm_1", "device": "A card", "figures": {}},
    "symbols": {"batch": {"min": 1, "max": 8}},
    "inputs": [{"name": "x", "shape": ["batch", 1000], "dtype": "float32"}],
    "plugins": {},
    "plan": {
        "kernels": [
            {"name": "f_1", "kernel": "wide", "config": "Config(tile=4)"},
            {"name": "g_1", "kernel": "tall", "config": "Config(tile=8)"},
        ],
        "buckets": [
            {
                "sizes": {"batch": 8},
                "launches": [
                    launch(
                        "first",
                        "f_1",
                        ["input:0", "constant:0"],
                        bytes="4000*batch + 2000",
                        inputs={"0": "1000*batch"},
                    ),
                    launch("second", "g_1", ["arena:0"], flops="1000000000*batch", bytes="floor(batch/2)"),
                ],
            }
        ],
    },
}


class Pretender:
    """Two launches that take 10 us and 100 us, slower each time but the second."""

    def __init__(self, manifest: dict[str, Any] = MANIFEST) -> None:
        self.manifest = manifest
        self.passes = 0

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        return inputs[0]

    def time_launches(
        self, *inputs: torch.Tensor, sample_ms: float, samples: int
    ) -> tuple[int, list[LaunchTime]]:
        assert inputs[0].dtype == torch.float16
        self.passes += 1
        more = 0 if self.passes % 3 == 2 else self.passes
        return 0, [LaunchTime("first", "f_1", 0.010 + more), LaunchTime("second", "g_1", 0.100 + more)]


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> LayerReport:
    timing = type("Timing", (), {"ms_median": 0.4})
    monkeypatch.setattr(module, "interleaved", lambda paths, device, rounds, limit_s: {"": timing})
    return layers(Pretender(), [1, 8], PEAKS)


def test_a_time_limit_leaves_one_pass_and_a_median(monkeypatch: pytest.MonkeyPatch) -> None:
    wholes: list[Any] = []

    def remembered(*given: Any, **named: Any) -> Any:
        wholes.append(interleaved(*given, **named))
        return wholes[-1]

    monkeypatch.setattr(module, "interleaved", remembered)
    engine = Pretender()
    layers(engine, [8], PEAKS, rounds=50, limit_s=0)
    assert engine.passes == 1
    assert wholes[0][""].rounds == FEWEST_ROUNDS


def test_floors_and_shares(report: LayerReport) -> None:
    table = report.tables[1]
    first, second = table.layers
    assert (first.us, second.us) == pytest.approx((10, 100)), "the fastest pass counts"
    assert first.bytes == 2000 * 8 + 2000, "the input came in float16"
    assert (first.floor_us, first.bound) == (pytest.approx(18000 / 1e12 * 1e6), "memory")
    assert (second.flops, second.bytes) == (8_000_000_000, 4)
    assert (second.floor_us, second.bound) == (pytest.approx(80.0), "arithmetic")
    assert second.share == pytest.approx(0.8)
    assert (second.family, second.config) == ("tall", "Config(tile=8)")
    assert second.shapes == "test.op: float16[8, 3] channels_last, float16[3] -> float16[8, 3]"
    assert table.sum_us == pytest.approx(110)
    assert (table.whole_us, table.share) == (pytest.approx(400), pytest.approx(80.018 / 400))
    assert [table.batch for table in report.tables] == [1, 8]


def test_the_table_ends_with_the_whole(report: LayerReport) -> None:
    cells = layer_cells(report, report.tables[1])
    assert cells.rows[1][:3] == ("second", "tall", "[8, 3], [3] -> [8, 3]")
    assert cells.rows[1][-2:] == ("80%", "arithmetic")
    assert cells.rows[-2][0] == "sum of launches"
    assert cells.rows[-1][:4] == ("whole", "", "", "400.0")
    assert cells.rows[-1][-2] == "20%"
    assert "documented peaks: 100 TFLOP/s float16, 10 TFLOP/s float32, 1000 GB/s" in cells.caption


def test_the_record_is_json(report: LayerReport) -> None:
    record = json.loads(to_json(layers_record(report, "the command")))
    assert record["command"] == "the command"
    assert record["peaks"] == {
        "tflops": {"float16": 100.0, "float32": 10.0},
        "memory_gbps": 1000.0,
        "source": "documented",
    }
    at = record["batches"][1]
    assert at["share"] == pytest.approx(80.018 / 400)
    assert at["layers"][1]["share"] == pytest.approx(0.8)
    assert at["layers"][1]["kernel"] == "g_1"


def test_arithmetic_without_a_peak_is_left_out() -> None:
    assert PEAKS.floor(10**15, 10**6, "float64") == (pytest.approx(1.0), "memory")
    assert PEAKS.floor(10**15, 10**6, None)[1] == "memory"


def test_peaks_are_documented_for_the_card_at_hand_only() -> None:
    target = {
        "device": "A card",
        "figures": {"fp16_tflops": 989, "fp32_tflops": 66.9, "memory_gbps": 3350},
    }
    found = documented_peaks(target, "A card")
    assert found is not None
    assert found.tflops == {"float16": 989.0, "bfloat16": 989.0, "float32": 66.9}
    assert documented_peaks(target, "Another card") is None
    assert documented_peaks({"device": "A card", "figures": {}}, "A card") is None
    assert documented_peaks({"device": "A card"}, "A card") is None, "of an older engine"


def test_measured_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.measured_peaks.__globals__["_MATRIX_SIZE"], "cpu", 64)
    monkeypatch.setitem(module.measured_peaks.__globals__["_COPY_BYTES"], "cpu", 1 << 16)
    found = measured_peaks(torch.device("cpu"), (torch.float32, torch.bfloat16))
    assert set(found.tflops) == {"float32", "bfloat16"}
    assert 1e-6 < found.tflops["float32"] < 1e3
    assert 1e-3 < found.memory_gbps < 1e5
    made = peaks_of({**MANIFEST, "precision": "float32"}, threads=1)
    assert (made.source, set(made.tflops)) == ("measured", {"float32"})


def test_notes_tell_why_peaks_were_measured(report: LayerReport) -> None:
    assert report.notes == ()
    measured = Peaks({}, 1.0, "measured")
    assert "the target cpu states no peaks" in layers(Pretender(), [1], measured, rounds=1).notes[0]
    elsewhere = copy.deepcopy(MANIFEST)
    elsewhere["target"]["figures"] = {"memory_gbps": 9}
    assert "compiled for A card, which" in layers(Pretender(elsewhere), [1], measured, rounds=1).notes[0]


def test_what_is_refused() -> None:
    with pytest.raises(EngineInputError, match="batch 9 is outside"):
        layers(Pretender(), [9], PEAKS)
    old = copy.deepcopy(MANIFEST)
    del old["plan"]["buckets"][0]["launches"][0]["work"]
    with pytest.raises(ArtifactError, match="compile it again"):
        layers(Pretender(old), [1], PEAKS)
    odd = copy.deepcopy(MANIFEST)
    odd["plan"]["buckets"][0]["launches"][1]["work"]["flops"] = "open('x')"
    with pytest.raises(ArtifactError, match="launch of g_1"):
        layers(Pretender(odd), [1], PEAKS, rounds=1)
