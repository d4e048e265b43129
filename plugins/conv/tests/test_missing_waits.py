"""The emulation notices blocks of a cluster that do not wait for each other."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from emulated_cuda import AVAILABLE
from missing_waits import run_with_fault

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not AVAILABLE, reason="the emulation needs g++ on x86-64"),
]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("begin", "a barrier that was not initialized"),
        ("end", "at a block that has gone"),
        ("release", "relative error"),
    ],
)
def test_a_missing_wait_is_noticed(fault: str, message: str, tmp_path: Path) -> None:
    """That the same tile passes as it is, is tested where it is emulated."""
    said = tmp_path / "said.txt"
    process = multiprocessing.get_context("spawn").Process(target=run_with_fault, args=(fault, said))
    process.start()
    process.join()
    assert process.exitcode != 0
    assert message in said.read_text(encoding="utf-8")
