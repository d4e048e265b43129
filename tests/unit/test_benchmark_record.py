"""The record of a benchmark script: whole at any moment, and no section takes another one down."""

from __future__ import annotations

import json
import sys
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
