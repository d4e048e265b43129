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
    launch_variables,
    merge_groups,
    pad_columns,
)

TEMPLATES = Templates(__package__)
DTYPES = (DType.float16, DType.bfloat16)
PACKED_MULTIPLE = 64
"""Every tile depth divides it, so that all configurations share one packing of a weight."""
MOST_CANDIDATES = 8


@dataclass(frozen=True)
class Tile:
    """A thread block's share of the matrix product; see ``GemmTile`` in ``implicit_gemm.cuh``.

    ``merged`` neighbouring groups are computed as one, with zeros in the weight between them: more
    products, but whole vectors and sectors of memory. As in Winograd's or Fourier's algorithms, an
    infinity or NaN in one of them then spreads to the others.
    """

    pixels: int
    channels: int
    depth: int
    warp_pixels: int
    warp_channels: int
    stages: int
    splits: int = 1
    resident: int = 1
    merged: int = 1

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
        merged = f", {self.merged} groups as one" if self.merged > 1 else ""
        return f"{self.pixels}x{self.channels}x{self.depth}, {self.stages} stages{splits}{merged}"


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
MOST_MERGED = 64
"""Channels of a group made by merging."""


def _mergers(shape: ConvShape) -> list[int]:
    """How many neighbouring groups may be taken as one, so that 8 channels are read at once."""
    return [
        count
        for count in range(1, shape.groups + 1)
        if shape.groups % count == 0
        and shape.group_in * count % 8 == 0
        and (count == 1 or max(shape.group_in, shape.group_out) * count <= MOST_MERGED)
    ]


def supports(problem: Problem) -> Decline | None:
    """None, or why this kernel does not serve the problem."""
    if not {"mma_sync", "cp_async"} <= problem.target.features:
        return Decline("the device has no mma.sync with cp.async (sm_80 and newer do)")
    if declined := common_decline(problem, DTYPES, external=False):
        return declined
    shape = ConvShape.of(problem)
    if shape.group_in == 1 and shape.groups > 1:
        return Decline("a depthwise convolution has no channels to sum over")
    if not shape.spatially_static:
        return Decline(f"height and width must be static, not {shape.height}x{shape.width}")
    if not _mergers(shape):
        return Decline(
            f"the {shape.group_in} input channels of a group must be a multiple of 8, alone or with those of "
            f"neighbouring groups, {MOST_MERGED} channels together at most"
        )
    if shape.groups > 65535:
        return Decline(f"{shape.groups} groups exceed a launch grid")
    return None


def estimate_us(problem: Problem, tile: Tile) -> float:
    """Predicted time: waves of blocks at the tensor cores' rate, or memory, plus fixed costs.

    Each multiprocessor runs the blocks that fit; together they are bound by the tensor cores'
    rate, alone by the latency of one step. The figures were fitted to an H100 on ResNet's layers.
    """
    shape, cost, target = ConvShape.of(problem).merged(tile.merged), ConvCost.of(problem), problem.target
    multiprocessors = target["multiprocessors"]
    blocks = _blocks(shape, tile, cost.pixels) * tile.splits
    steps = ceil(ceil(shape.k / tile.depth) / tile.splits)
    shared = target["shared_memory_per_multiprocessor"] // (tile.shared_bytes + 1024)
    fits = max(1, min(shared, 65536 // (tile.registers * tile.warps * 32), 64 // tile.warps))
    # mma.sync reaches nearly the full rate before Hopper, and a good half of wgmma's on it.
    share = 0.56 if target.has("wgmma") else 0.85
    reuse = tile.warp_pixels * tile.warp_channels / (tile.warp_pixels + tile.warp_channels)
    share *= reuse / (reuse + 5.0)  # smaller warp tiles wait for shared memory
    rate = target["fp16_tflops"] * 1e6 / multiprocessors * share  # operations per microsecond
    work = 2.0 * tile.pixels * tile.channels * tile.depth / rate
    latency = 0.10 + 0.035 * (tile.depth // 32)

    def turn(resident: int) -> float:
        overlap = 0.95 if resident > 1 else 0.78 if tile.warps >= 8 else 0.6
        finish = 0.6 + resident * tile.pixels * tile.channels * 0.17e-3
        return steps * max(resident * work / overlap, latency) + finish

    full, rest = divmod(blocks, fits * multiprocessors)
    compute = full * turn(fits) + (turn(ceil(rest / multiprocessors)) if rest else 0.0)
    if tile.splits > 1:
        partial_bytes = blocks * tile.pixels * tile.channels * 4 * 2
        compute += 1.5 + partial_bytes / (target["memory_gbps"] * 1e3) + tile.splits * 0.15
    # A group's channels of one pixel occupy whole sectors of 32 bytes.
    scattered = max(1.0, 16.0 / min(shape.group_in, shape.group_out)) if shape.groups > 1 else 1.0
    return float(max(compute, cost.memory_us(problem) * scattered) + 1.4)


def _blocks(shape: ConvShape, tile: Tile, pixels: int) -> int:
    """Thread blocks without splits."""
    return ceil(pixels / tile.pixels) * ceil(shape.group_out / tile.channels) * shape.groups


def candidates(problem: Problem) -> Sequence[Candidate]:
    """Fitting tiles, the fastest by estimate first."""
    ranked = [Candidate(tile, estimate_us(problem, tile)) for tile in _fitting(problem)]
    return sorted(ranked, key=lambda candidate: candidate.estimate_us)[:MOST_CANDIDATES]


def _fitting(problem: Problem) -> Iterator[Tile]:
    pixels, multiprocessors = ConvCost.of(problem).pixels, problem.target["multiprocessors"]
    for merged in _mergers(ConvShape.of(problem)):
        shape = ConvShape.of(problem).merged(merged)
        for tile in TILES:
            wasteful = tile.channels > 16 and tile.channels >= 2 * shape.group_out
            if wasteful or tile.shared_bytes + 1024 > problem.target["shared_memory_per_block"]:
                continue
            blocks, steps = _blocks(shape, tile, pixels), ceil(shape.k / tile.depth)
            for splits in SPLITS:
                if splits == 1 or (blocks * splits <= 3 * multiprocessors and steps >= 4 * splits):
                    yield replace(tile, splits=splits, merged=merged)


def counter_bytes(problem: Problem, tile: Tile) -> int:
    """Bytes of tile counters before the partial sums: enough for the largest sizes, so that the
    partial sums of no size overlap them."""
    shape = ConvShape.of(problem).merged(tile.merged)
    return ceil(_blocks(shape, tile, largest(problem, shape.pixels)) * 4 / 256) * 256


def workspace_bytes(problem: Problem, tile: Tile) -> Dim:
    """Counters, then one partial tile per split."""
    if tile.splits == 1:
        return 0
    shape = ConvShape.of(problem).merged(tile.merged)
    tiles = ceil_div(shape.pixels, tile.pixels) * ceil(shape.group_out / tile.channels) * shape.groups
    return counter_bytes(problem, tile) + tiles * (tile.splits * tile.pixels * tile.channels * 4)


def pack(dtype: DType, groups: int, merged: int, weight: np.ndarray) -> np.ndarray:
    """``[O, I / groups, kh, kw]`` to ``[O, K]``, K running over (kh, kw, channel of the merged
    groups), padded with zeros."""
    return pad_columns(as_rows(merge_groups(weight, groups, merged)), PACKED_MULTIPLE).astype(dtype.numpy)


def emit(name: str, problem: Problem, config: Tile) -> KernelSource:
    shape = ConvShape.of(problem).merged(config.merged)
    text = TEMPLATES.kernel(
        "cuda/conv2d_mma.cu.jinja",
        name,
        problem,
        shape=shape,
        tile=config,
        element=element_type(problem),
        packed_k=ceil(shape.k / PACKED_MULTIPLE) * PACKED_MULTIPLE,
        counter_bytes=counter_bytes(problem, config) if config.splits > 1 else 0,
        **launch_variables(problem, uses_workspace=True),
    )
    groups = ConvShape.of(problem).groups
    return KernelSource(
        text,
        headers=TEMPLATES.headers("cuda/implicit_gemm.cuh", "cuda/warp_epilogue.cuh"),
        packings={1: partial(pack, compute_dtype(problem), groups, config.merged)},
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
