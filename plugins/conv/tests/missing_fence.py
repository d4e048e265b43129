"""A planted fault: a kernel gives the place of an operand that the copy engine fetched back to it without
a fence behind its reads.

In a module of its own, because the emulation ends the process that it runs in.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from cuda_problems import convolution
from fx2ait_conv.cuda_halo import CONV2D_HALO, HaloTile
from fx2ait_conv.cuda_wgmma import CONV2D_WGMMA
from fx2ait_conv.cuda_wgmma_tile import Tile
from test_cuda_emulated import check

from fx2ait_core.sdk import Kernel, KernelSource, Problem

FENCE = "fx2ait::copy_engine_fence();"


def run_without_fence(family: str, said: Path) -> None:
    """Run ``conv2d_halo`` or ``conv2d_wgmma`` on the CPU; what the process says on standard error goes to
    ``said``."""
    with said.open("wb") as file:
        os.dup2(file.fileno(), 2)
    problem = convolution(
        64, (16, 16), 64, padding=(1, 1, 1, 1), residual=True, figures={"multiprocessors": 1}
    )
    if family == "conv2d_halo":
        tile = HaloTile(8, 2, alternate=True, resident=1, staged=2).fitted(problem)
        assert tile is not None
        check(_without_fence(CONV2D_HALO), problem, tile, seed=0, batch=2)
    else:
        check(
            _without_fence(CONV2D_WGMMA), problem, Tile(64, 64, 2, True, 1, 5, fetches=True), seed=0, batch=2
        )


def _without_fence(kernel: Kernel) -> Kernel:
    def emit(name: str, problem: Problem, config: Any) -> KernelSource:
        source = kernel.emit(name, problem, config)
        assert sum(FENCE in text for text in source.headers.values()) == 1
        headers = {path: text.replace(FENCE, "") for path, text in source.headers.items()}
        return replace(source, headers=headers)

    return replace(kernel, emit=emit)
