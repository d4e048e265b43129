"""The record of a benchmark script: whole at any moment, and no section takes another one down."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import record  # noqa: PLC0415  # of the scripts' folder

    return record


@pytest.fixture
def wishes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import wishes  # noqa: PLC0415

    return wishes


def test_a_section_that_fails_leaves_the_others(record: ModuleType, tmp_path: Path, capsys) -> None:
    made = record.Record(tmp_path / "out" / "card-model.json")
    assert made.section("first", lambda: made.data.update(first=1))
    assert not made.section("second", lambda: 1 / 0)
    assert json.loads(made.path.read_text())["first"] == 1
    assert made.section("third", lambda: made.data.update(third=3))
    written = json.loads(made.path.read_text())
    assert (written["first"], written["third"]) == (1, 3)
    assert written["failures"] == {"second": "ZeroDivisionError: division by zero"}
    assert "second FAILED" in capsys.readouterr().err
    assert [path.name for path in made.path.parent.iterdir()] == ["card-model.json"]


def test_a_section_is_written_before_the_next_begins(record: ModuleType, tmp_path: Path) -> None:
    made = record.Record(tmp_path / "r.json")
    made.section("first", lambda: made.data.update(first=1))
    with pytest.raises(KeyboardInterrupt):
        made.section("second", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    assert json.loads((tmp_path / "r.json").read_text())["first"] == 1


def test_a_value_that_json_lacks_spares_the_file(record: ModuleType, tmp_path: Path) -> None:
    made = record.Record(tmp_path / "r.json")
    made.section("first", lambda: made.data.update(first=1))
    with pytest.raises(TypeError):
        made.section("second", lambda: made.data.update(second=object()))
    assert json.loads((tmp_path / "r.json").read_text())["first"] == 1


def test_rows_of_other_batches_stay(record: ModuleType, tmp_path: Path) -> None:
    made = record.Record(tmp_path / "r.json")
    made.put_rows("rows", [{"batch": 8, "ms": 1}, {"batch": 1, "ms": 2}])
    made.write()
    again = record.Record(tmp_path / "r.json", keep=True)
    again.data["failures"] = {"compile": "old"}
    again.put_rows("rows", [{"batch": 8, "ms": 3}, {"batch": 256, "ms": 4}])
    assert again.data["rows"] == [
        {"batch": 1, "ms": 2},
        {"batch": 8, "ms": 3},
        {"batch": 256, "ms": 4},
    ]
    assert again.section("compile", lambda: None)
    assert again.data["failures"] == {}
    assert record.Record(tmp_path / "r.json").data == {}, "without keep it begins anew"


def test_every_command_that_fills_a_record_stands_in_it(record: ModuleType, tmp_path: Path) -> None:
    made = record.Record(tmp_path / "r.json")
    for command in ("python a.py", "python a.py --update", "python a.py --update"):
        made.filled_by(command, "abc")
    assert (made.data["command"], made.data["later_commands"]) == ("python a.py", ["python a.py --update"])
    with pytest.raises(record.OtherCommitError, match=r"r\.json is of commit abc, not def.*without --update"):
        made.filled_by("python a.py --update", "def")


def test_the_command_line(wishes: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    defaults = {"models": "resnet18", "batches": "8,1", "rounds": 2, "repeats": 5, "other_archs": "sm_80"}
    found = wishes.wishes("cuda", "text", **defaults, arguments=["--commit", "abc", "--rivals", "none"])
    assert (found.batches, found.commit, found.rivals) == ((1, 8), "abc", ())
    assert found.tune_batches == (1, 8)
    assert found.other_archs == ("sm_80",)
    assert found.sections == wishes.SECTIONS
    other = wishes.wishes(
        "cuda", "text", **defaults, arguments=["--other-archs", "none", "--tune-batches", "64,1"]
    )
    assert (other.other_archs, other.rivals) == ((), None)
    assert (other.batches, other.tune_batches) == ((1, 8), (1, 64))
    with pytest.raises(SystemExit):
        wishes.wishes("cuda", "text", **defaults, arguments=["--sections", "layers,tea"])
    assert "tea: none of verify, benchmark" in capsys.readouterr().err
    assert str(SCRIPTS) in sys.path


def test_a_summary_tells_what_both_records_hold(
    benchmark_script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    def row(path: str, ms: float, **more: object) -> dict[str, object]:
        times = {"ms_median": ms, "ms_min": ms, "ms_max": ms, "images_per_s": 8e3 / ms}
        return {"batch": 8, "path": path, **times, "relative_l2": 1e-3, **more}

    equal = {"repeated": 0, "on_filled_memory": 0, "two_at_once": 0}
    held = {
        "model": "net", "target": "cuda", "precision": "fp16",
        "card": "A Card", "driver": None, "clocks": None,
        "threads": 2, "versions": {"torch": "2.11"}, "commit": "abc", "rounds": 5, "compile_seconds": 3.0,
        "failures": {"verify": "ValueError: no"},
        "rows": [
            row("fx2ait", 1.0), row("eager_fp16", 4.0),
            row("torch_compile", 2.0, detail="fast", slower={"slow": 3.0}),
        ],
        "differing_runs": [
            {"batch": 1, "repetitions": 9}, {"batch": 8, "repetitions": 9, **equal},
            {"batch": 16, "repetitions": 9, **equal, "two_at_once": 5},
        ],
    }  # fmt: skip
    peaks = {"tflops": {"float16": 1000.0}, "memory_gbps": 3000.0, "source": "documented"}
    totals = {"batch": 8, "floor_us": 100.0, "sum_us": 150.0, "whole_us": 200.0, "share": 0.5}
    layers = {"peaks": peaks, "batches": [totals]}
    text = benchmark_script("summary").write_summary(tmp_path / "net.json", held, layers)
    assert (tmp_path / "net.md").read_text() == text
    for told in (
        "net: compiled in 3.0 s",
        "**verify failed**: ValueError: no",
        "| 8 | 4.000 ±0.000 | 2,000 | 1.000 ±0.000 | 8,000 | 4.00x | 2.000 ±0.000 | 2.00x | 1.0e-03 |",
        "torch_compile at batch 8: fast 2.000 ms, slow 3.000 ms",
        "batch 8: 9 repetitions, runs on memory full of NaN, and two engines at once: all equal, bit by bit",
        "runs that differ from the first: {'two_at_once': 5}",
        "| 8 | 100.0 | 150.0 | 200.0 | 50% |",
    ):
        assert told in text
    assert "batch 1:" not in text, "what failed before its end is no result"
