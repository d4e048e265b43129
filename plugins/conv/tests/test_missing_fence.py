"""The emulation notices copies that may overtake reads, as they do on an H100."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path

import pytest
from emulated_cuda import AVAILABLE
from missing_fence import run_without_fence

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not AVAILABLE, reason="the emulation needs g++ on x86-64"),
]


@pytest.mark.parametrize("family", ["conv2d_halo", "conv2d_wgmma"])
def test_a_missing_fence_is_noticed(family: str, tmp_path: Path) -> None:
    """That the same kernels pass with their fences is tested where they are emulated."""
    said = tmp_path / "said.txt"
    process = multiprocessing.get_context("spawn").Process(target=run_without_fence, args=(family, said))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGABRT
    assert "a tensor copy over reads without a fence" in said.read_text(encoding="utf-8")
