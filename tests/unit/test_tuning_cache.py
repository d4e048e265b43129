"""The tuning cache: what is stored is found, and trouble with the file is a warning."""

import sqlite3
import warnings
from dataclasses import fields, replace
from multiprocessing import get_context

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx2ait_core.tune.cache import Measurement, MeasurementKey, RecordedChoice, TuningCache

KEY = MeasurementKey("conv", "Tile(64)", "d1gest", "batch=8", "float16", "H100", "nvcc 13", "50urce")


def test_measurements_and_choices_outlive_the_object(tmp_path):
    with TuningCache.open(tmp_path) as cache:
        assert cache.find(KEY) is None
        cache.record(KEY, Measurement(12.5))
        cache.record_choice("k", RecordedChoice("conv", "Tile(64)", 12.5))
    with TuningCache.open(tmp_path) as cache:
        assert cache.find(KEY) == Measurement(12.5)
        assert cache.find_choice("k") == RecordedChoice("conv", "Tile(64)", 12.5)
        assert cache.find_choice("other") is None


def test_a_later_measurement_replaces_an_earlier_one():
    cache = TuningCache(None)
    cache.record(KEY, Measurement(None, failure="no"))
    assert cache.find(KEY) == Measurement(None, 1, "no")
    cache.record(KEY, Measurement(3.0, rounds=3))
    assert cache.find(KEY) == Measurement(3.0, 3, None)


@given(st.sampled_from([field.name for field in fields(MeasurementKey)]), st.text())
def test_every_part_of_the_key_counts(name, text):
    cache = TuningCache(None)
    cache.record(KEY, Measurement(1.0))
    other = replace(KEY, **{name: text})
    assert (cache.find(other) is None) == (other != KEY)


@pytest.mark.parametrize("contents", [b"no database, longer than a header " * 9, b"SQLite format 3\0" * 99])
def test_a_damaged_file_is_set_aside_with_a_warning(tmp_path, contents):
    path = tmp_path / "tuning.sqlite"
    path.write_bytes(contents)
    with pytest.warns(RuntimeWarning, match="damaged.*begun anew"):
        cache = TuningCache.open(tmp_path)
    cache.record(KEY, Measurement(1.0))
    cache.close()
    assert path.with_suffix(".damaged").read_bytes() == contents
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert TuningCache.open(tmp_path).find(KEY) == Measurement(1.0)


def test_damage_that_shows_only_later(tmp_path):
    with TuningCache.open(tmp_path) as cache:
        for number in range(500):
            cache.record(replace(KEY, config=str(number)), Measurement(1.0))
    path = tmp_path / "tuning.sqlite"
    data = bytearray(path.read_bytes())
    data[8192:] = b"\xff" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.warns(RuntimeWarning, match="damaged"):
        cache = TuningCache.open(tmp_path)
        found = [cache.find(replace(KEY, config=str(number))) for number in range(500)]
    assert None in found
    cache.record(KEY, Measurement(2.0))
    assert cache.find(KEY) == Measurement(2.0)


def test_a_newer_version_is_set_aside(tmp_path):
    connection = sqlite3.connect(tmp_path / "tuning.sqlite")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.warns(RuntimeWarning, match="version 99"):
        TuningCache.open(tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.warns(RuntimeWarning, match=r"cannot be used.*FX2AIT_CACHE_DIR"):
        cache = TuningCache.open(tmp_path / "file")
    cache.record(KEY, Measurement(1.0))
    assert cache.find(KEY) == Measurement(1.0), "it still serves this run"


def test_a_path_that_is_a_folder(tmp_path):
    (tmp_path / "tuning.sqlite").mkdir()
    with pytest.warns(RuntimeWarning, match="cannot be used"):
        cache = TuningCache.open(tmp_path)
    cache.record(KEY, Measurement(1.0))
    assert cache.find(KEY) == Measurement(1.0)


def test_a_lock_that_is_never_released(tmp_path, monkeypatch):
    monkeypatch.setattr("fx2ait_core.tune.cache._WAIT_SECONDS", 0.1)
    cache = TuningCache.open(tmp_path)
    holder = sqlite3.connect(tmp_path / "tuning.sqlite", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.warns(RuntimeWarning, match="locked"):
        cache.record(KEY, Measurement(1.0))
    cache.record(KEY, Measurement(2.0))
    assert cache.find(KEY) == Measurement(2.0)
    holder.close()


def _record(folder, start, count):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with TuningCache.open(folder) as cache:
            for number in range(start, start + count):
                cache.record(replace(KEY, config=str(number)), Measurement(float(number)))


def test_several_processes_write_at_once(tmp_path):
    context = get_context("spawn")
    processes = [context.Process(target=_record, args=(tmp_path, 100 * n, 100)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    with TuningCache.open(tmp_path) as cache:
        assert all(cache.find(replace(KEY, config=str(n))) == Measurement(float(n)) for n in range(300))
