"""Planted faults: blocks of a cluster that share filters do not wait for each other where they must.

In a module of its own, because the emulation ends the process that it runs in.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from fx2ait_conv.cuda_wgmma import CONV2D_WGMMA
from fx2ait_conv.cuda_wgmma_tile import Tile
from test_cuda_emulated import check
from test_cuda_wgmma_emulated import sharing_problem

from fx2ait_core.sdk import Kernel, KernelSource, Problem

FAULTS = {
    # A copy goes to a block that has not made its barriers.
    "begin": ("if constexpr (Tile::kShares) fx2ait::cluster_wait();", ""),
    # A block leaves while others still arrive at its barriers.
    "end": ("i < Tile::kStages; ++i) {\n      ring", "i < 0; ++i) {\n      ring"),
    # A stage is filled again that other blocks still read, or for which they did not ask.
    "release": (
        "if (lane < Tile::Cluster::kSharers) Tile::Cluster::arrive(empty, lane);",
        "for (int i = 0; i < Tile::Cluster::kSharers; ++i) {\n"
        "        if (lane == 0) fx2ait::mbarrier_arrive(empty);\n      }",
    ),
}


def run_with_fault(fault: str, said: Path) -> None:
    """Run a tile on the CPU until the fault shows; what it says on standard error goes to ``said``."""
    with said.open("wb") as file:
        os.dup2(file.fileno(), 2)
    tile = Tile(64, 32, 1, False, 1, 3, filter_sharers=2)
    for seed in range(5):
        check(_with_fault(CONV2D_WGMMA, *FAULTS[fault]), sharing_problem(), tile, seed=seed, batch=2)


def _with_fault(kernel: Kernel, right: str, wrong: str) -> Kernel:
    def emit(name: str, problem: Problem, config: Any) -> KernelSource:
        source = kernel.emit(name, problem, config)
        assert sum(text.count(right) for text in source.headers.values()) == 1
        headers = {path: text.replace(right, wrong) for path, text in source.headers.items()}
        return replace(source, headers=headers)

    return replace(kernel, emit=emit)
