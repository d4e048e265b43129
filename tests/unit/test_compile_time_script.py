"""What the compile-time script reckons: calls that are begun in order, each on the first free processor."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def script(benchmark_script: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_script("compile_time")


def test_the_order_of_calls_decides(script: ModuleType) -> None:
    assert script.makespan([3, 3, 3, 9], 3) == 12
    assert script.makespan([9, 3, 3, 3], 3) == 9


@given(st.lists(st.integers(0, 50), max_size=30), st.integers(1, 20))
def test_no_schedule_beats_its_bounds(script: ModuleType, seconds: list[int], processors: int) -> None:
    wall, longest = script.makespan(seconds, processors), max(seconds, default=0)
    assert max(longest, sum(seconds) / processors) <= wall <= sum(seconds) / processors + longest
    assert script.makespan(seconds, 1) == sum(seconds)


def test_a_command_s_processor_time_includes_what_it_starts(script: ModuleType, tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}], check=True)"
    assert script.processor_seconds([sys.executable, "-c", child], tmp_path) >= 0.3
    with pytest.raises(SystemExit, match="no way"):
        script.processor_seconds([sys.executable, "-c", "raise SystemExit('no way')"], tmp_path)
