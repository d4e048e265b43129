"""``conv2d_mma``: implicit GEMM on ``mma.sync``, for 16-bit types and channels in multiples of 8."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil

import numpy as np

from fx2ait_core.sdk import Candidate, Decline, Dim, DType, Kernel, KernelSource, Problem, Templates

from .cuda_shape import (
    ConvCost,
    ConvShape,
    as_rows,
    ceil_div,
    common_decline,
    compute_dtype,
    element_type,
    largest,
    pad_columns,
)

TEMPLATES = Templates(__package__)
DTYPES = (DType.float16, DType.bfloat16)
PACKED_MULTIPLE = 64
"""Every tile depth divides it, so that all configurations share one packing of a weight."""
MOST_CANDIDATES = 8


@dataclass(frozen=True)
class Tile:
    """A thread block's share of the matrix product; see ``GemmTile`` in ``implicit_gemm.cuh``."""

    pixels: int
    channels: int
    depth: int
    warp_pixels: int
    warp_channels: int
    stages: int
    splits: int = 1
    resident: int = 1

    @property
    def warps(self) -> int:
        return (self.pixels // self.warp_pixels) * (self.channels // self.warp_channels)

    @property
    def shared_bytes(self) -> int:
        pipeline = self.stages * (self.pixels + self.channels) * self.depth * 2
        return max(pipeline, self.warps * 16 * (self.warp_channels + 4) * 4)

    @property
    def registers(self) -> int:
        """Roughly, per thread: accumulators, two sets of fragments, addresses."""
        fragments = self.warp_pixels // 16 * 8 + self.warp_channels // 16 * 8
        return min(255, self.warp_pixels * self.warp_channels // 32 + fragments + 48)

    def __str__(self) -> str:
        splits = f", {self.splits} splits" if self.splits > 1 else ""
        return f"{self.pixels}x{self.channels}x{self.depth}, {self.stages} stages{splits}"


TILES = (
    Tile(256, 128, 32, 64, 64, 3),
    Tile(128, 256, 32, 64, 64, 3),
    Tile(128, 128, 32, 64, 64, 4, resident=2),
    Tile(128, 128, 64, 64, 32, 3),
    Tile(256, 64, 32, 64, 64, 4, resident=2),
    Tile(128, 64, 32, 64, 32, 4, resident=2),
    Tile(128, 64, 64, 32, 64, 3, resident=2),
    Tile(64, 128, 64, 32, 64, 3, resident=2),
    Tile(64, 64, 64, 32, 32, 4, resident=2),
    Tile(128, 32, 64, 32, 32, 3, resident=2),
    Tile(64, 32, 64, 32, 16, 4, resident=3),
    Tile(32, 64, 64, 16, 32, 4, resident=3),
    Tile(32, 32, 64, 16, 16, 4, resident=4),
    Tile(128, 16, 64, 32, 16, 3, resident=3),
)
SPLITS = (1, 2, 3, 4, 6, 8, 12, 16)


def supports(problem: Problem) -> Decline | None:
    """None, or why this kernel does not serve the problem."""
    if not {"mma_sync", "cp_async"} <= problem.target.features:
        return Decline("the device has no mma.sync with cp.async (sm_80 and newer do)")
    if declined := common_decline(problem, DTYPES, external=False):
        return declined
    shape = ConvShape.of(problem)
    if not shape.spatially_static:
        return Decline(f"height and width must be static, not {shape.height}x{shape.width}")
    if shape.group_in % 8:
        return Decline(f"the {shape.group_in} input channels of a group must be a multiple of 8")
    if shape.groups > 65535:
        return Decline(f"{shape.groups} groups exceed a launch grid")
    return None


def estimate_us(problem: Problem, tile: Tile) -> float:
    """Predicted time: waves of blocks at the tensor cores' rate, or memory, plus fixed costs.

    Each multiprocessor runs the blocks that fit; together they are bound by the tensor cores'
    rate, alone by the latency of one step.
    """
    shape, cost, target = ConvShape.of(problem), ConvCost.of(problem), problem.target
    multiprocessors = target["multiprocessors"]
    blocks = (
        ceil(cost.pixels / tile.pixels) * ceil(shape.group_out / tile.channels) * shape.groups * tile.splits
    )
    steps = ceil(ceil(shape.k / tile.depth) / tile.splits)
    fits = min(
        target["shared_memory_per_multiprocessor"] // (tile.shared_bytes + 1024),
        65536 // (tile.registers * tile.warps * 32),
        64 // tile.warps,
    )
    fits = max(1, fits)
    # mma.sync reaches the full rate before Hopper, and about 6 tenths of wgmma's on it.
    share = 0.62 if target.has("wgmma") else 0.9
    rate = target["fp16_tflops"] * 1e6 / multiprocessors * share  # operations per microsecond and multiprocessor
    reuse = tile.warp_pixels * tile.warp_channels / (tile.warp_pixels + tile.warp_channels)
    rate *= reuse / (reuse + 5.0)  # smaller warp tiles wait for shared memory
    work = 2.0 * tile.pixels * tile.channels * tile.depth / rate
    latency = 0.14 + 0.06 * (tile.depth // 32)

    def turn(resident: int) -> float:
        return max(steps * max(resident * work, latency), 0.5) + 1.0

    full, rest = divmod(blocks, fits * multiprocessors)
    compute = full * turn(fits) + (turn(ceil(rest / multiprocessors)) if rest else 0.0)
    if tile.splits > 1:
        partial_bytes = blocks * tile.pixels * tile.channels * 4 * 2
        compute += 1.5 + partial_bytes / (target["memory_gbps"] * 1e3) + tile.splits * 0.15
    return max(compute, cost.memory_us(problem)) + 2.0


def candidates(problem: Problem) -> Sequence[Candidate]:
    """Fitting tiles, the fastest by estimate first."""
    ranked = [Candidate(tile, estimate_us(problem, tile)) for tile in _fitting(problem)]
    return sorted(ranked, key=lambda candidate: candidate.estimate_us)[:MOST_CANDIDATES]


def _fitting(problem: Problem) -> Iterator[Tile]:
    shape, pixels = ConvShape.of(problem), ConvCost.of(problem).pixels
    multiprocessors = problem.target["multiprocessors"]
    for tile in TILES:
        wasteful = tile.channels > 16 and tile.channels >= 2 * shape.group_out
        if wasteful or tile.shared_bytes + 1024 > problem.target["shared_memory_per_block"]:
            continue
        blocks = ceil(pixels / tile.pixels) * ceil(shape.group_out / tile.channels) * shape.groups
        steps = ceil(shape.k / tile.depth)
        for splits in SPLITS:
            if splits == 1 or (blocks * splits <= 3 * multiprocessors and steps >= 4 * splits):
                yield replace(tile, splits=splits)


def counter_bytes(problem: Problem, tile: Tile) -> int:
    """Bytes of tile counters before the partial sums: enough for the largest sizes, so that the
    partial sums of no size overlap them."""
    shape = ConvShape.of(problem)
    blocks = ceil(largest(problem, shape.pixels) / tile.pixels) * ceil(shape.group_out / tile.channels)
    return ceil(blocks * shape.groups * 4 / 256) * 256


def workspace_bytes(problem: Problem, tile: Tile) -> Dim:
    if tile.splits == 1:
        return 0
    shape = ConvShape.of(problem)
    blocks = ceil_div(shape.pixels, tile.pixels) * ceil(shape.group_out / tile.channels) * shape.groups
    return counter_bytes(problem, tile) + blocks * (tile.splits * tile.pixels * tile.channels * 4)


def pack(dtype: DType, weight: np.ndarray) -> np.ndarray:
    """``[O, I / groups, kh, kw]`` to ``[O, K]``, K running over (kh, kw, channel), padded with zeros."""
    return pad_columns(as_rows(weight), PACKED_MULTIPLE).astype(dtype.numpy)


def emit(name: str, problem: Problem, config: Tile) -> KernelSource:
    shape = ConvShape.of(problem)
    text = TEMPLATES.kernel(
        "cuda/conv2d_mma.cu.jinja",
        name,
        problem,
        shape=shape,
        tile=config,
        element=element_type(problem),
        packed_k=ceil(shape.k / PACKED_MULTIPLE) * PACKED_MULTIPLE,
        counter_bytes=counter_bytes(problem, config) if config.splits > 1 else 0,
    )
    return KernelSource(
        text,
        headers=TEMPLATES.headers("cuda/implicit_gemm.cuh", "cuda/warp_epilogue.cuh"),
        packings={1: partial(pack, compute_dtype(problem))},
        workspace=workspace_bytes(problem, config),
    )


def label(problem: Problem, config: Tile) -> str:
    return ConvShape.of(problem).label("conv2d_mma")


KERNELS = [
    Kernel(
        name="conv2d_mma",
        operator="conv.conv2d",
        target="cuda",
        supports=supports,
        candidates=candidates,
        label=label,
        emit=emit,
    )
]
