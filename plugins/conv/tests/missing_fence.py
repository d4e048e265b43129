"""A planted fault: ``conv2d_halo`` gives the place of a staged operand back without a fence.

In a module of its own, because the emulation ends the process that it runs in.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from cuda_problems import convolution
from fx2ait_conv.cuda_halo import CONV2D_HALO, HaloTile
from test_cuda_emulated import check

from fx2ait_core.sdk import KernelSource, Problem

FENCE = "fx2ait::copy_engine_fence();"


def run_without_fence(said: Path) -> None:
    """Run the kernel on the CPU; what the process says on standard error goes to ``said``."""
    with said.open("wb") as file:
        os.dup2(file.fileno(), 2)
    problem = convolution(
        64, (16, 16), 64, padding=(1, 1, 1, 1), residual=True, figures={"multiprocessors": 1}
    )
    tile = HaloTile(8, 2, alternate=True, resident=1, staged=2).fitted(problem)
    assert tile is not None
    check(replace(CONV2D_HALO, emit=_emit), problem, tile, seed=0, batch=2)


def _emit(name: str, problem: Problem, config: Any) -> KernelSource:
    source = CONV2D_HALO.emit(name, problem, config)
    assert sum(FENCE in text for text in source.headers.values()) == 1
    return replace(source, headers={path: text.replace(FENCE, "") for path, text in source.headers.items()})
