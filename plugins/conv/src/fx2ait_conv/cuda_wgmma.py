"""``conv2d_wgmma``: implicit GEMM on Hopper's ``wgmma`` with im2col copies by the copy engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil

import numpy as np

from fx2ait_core.sdk import Candidate, Decline, DType, Kernel, KernelSource, Problem, Target, Templates

from .cuda_shape import ConvCost, ConvShape, common_decline, compute_dtype, element_type

TEMPLATES = Templates(__package__)
HEADERS = ("cuda/conv2d_wgmma.cuh", "cuda/wgmma_epilogue.cuh")
DTYPES = (DType.float16, DType.bfloat16)
BLOCK = 64
"""Input channels per step of the sum; the packed weight is padded to whole blocks."""
MOST_CANDIDATES = 8
MOST_STAGES = 8
LAUNCH_US = 1.35
SHARED_RATE = 228e3
"""Bytes per microsecond that a multiprocessor's shared memory moves: 128 per clock."""
SPLITS = (1, 2, 3, 4, 6, 8)
"""Parts of a sum, computed by the blocks of one cluster; 8 is the largest portable cluster."""


@dataclass(frozen=True)
class Tile:
    """A thread block's share of the work; see ``WgmmaTile`` in ``conv2d_wgmma.cuh``."""

    pixels: int
    channels: int
    warpgroups: int
    alternate: bool
    resident: int
    stages: int = 0
    splits: int = 1

    @property
    def stage_bytes(self) -> int:
        return (self.pixels + self.channels) * BLOCK * 2

    @property
    def partial_bytes(self) -> int:
        """Shared memory that a tile's partial sums need where blocks share it."""
        return self.pixels * (self.channels + 8) * 4 if self.splits > 1 else 0

    def fitted(self, problem: Problem) -> Tile | None:
        """With as many stages as shared memory holds, or None when those are too few."""
        target = problem.target
        share = target["shared_memory_per_multiprocessor"] // self.resident - 1024  # 1 KiB is the driver's
        room = min(target["shared_memory_per_block"], share)
        stages = min(MOST_STAGES, (room - 1024 - 256) // self.stage_bytes)  # alignment, barriers
        if stages < 3 or stages * self.stage_bytes < self.partial_bytes:
            return None
        return replace(self, stages=stages)

    def __str__(self) -> str:
        teams = f"{self.warpgroups} {'alternating ' if self.alternate else ''}warpgroups"
        splits = f", {self.splits} splits" if self.splits > 1 else ""
        depth = f"{self.stages} stages, {self.resident} resident"
        return f"{self.pixels}x{self.channels}, {teams}, {depth}{splits}"


TILES = (
    Tile(256, 128, 2, alternate=False, resident=1),
    Tile(128, 256, 2, alternate=False, resident=1),
    Tile(128, 192, 2, alternate=False, resident=1),
    Tile(128, 128, 2, alternate=True, resident=1),
    Tile(128, 128, 2, alternate=False, resident=1),
    Tile(256, 64, 2, alternate=True, resident=1),
    Tile(256, 64, 2, alternate=False, resident=1),
    Tile(128, 64, 2, alternate=True, resident=1),
    Tile(64, 128, 2, alternate=True, resident=1),
    Tile(64, 256, 2, alternate=True, resident=1),
    Tile(128, 64, 2, alternate=False, resident=2),
    Tile(128, 64, 1, alternate=False, resident=3),
    Tile(128, 96, 2, alternate=True, resident=1),
    Tile(64, 128, 1, alternate=False, resident=2),
    Tile(64, 64, 1, alternate=False, resident=3),
    Tile(128, 32, 1, alternate=False, resident=3),
    Tile(64, 32, 1, alternate=False, resident=3),
)


def supports(problem: Problem) -> Decline | None:
    """None, or why this kernel does not serve the problem."""
    if declined := device_decline(problem.target) or common_decline(problem, DTYPES, external=False):
        return declined
    if problem.result.dtype not in (*DTYPES, DType.float32):
        return Decline(f"stores float16, bfloat16 or float32, not {problem.result.dtype}")
    declines = (shape_decline(term) for term in ConvShape.terms(problem))
    return next((declined for declined in declines if declined), None)


def device_decline(target: Target) -> Decline | None:
    if {"wgmma", "tma"} <= target.features:
        return None
    return Decline("the device has no wgmma with tensor copies (sm_90a does)")


def shape_decline(shape: ConvShape) -> Decline | None:
    """Limits of a convolution's geometry."""
    if shape.groups != 1:
        return Decline(f"groups must be 1, not {shape.groups}")
    if shape.channels % 8 or shape.out_channels % 8:
        return Decline(
            f"the {shape.channels} input and {shape.out_channels} result channels must be multiples of 8"
        )
    return _window_decline(shape)


def _window_decline(shape: ConvShape) -> Decline | None:
    """Limits of the copy engine's im2col mode for two spatial dimensions."""
    if max(shape.stride_h, shape.stride_w) > 8:
        return Decline(f"strides of {shape.stride_h}x{shape.stride_w} exceed 8, the copy engine's limit")
    reach_h, reach_w = (shape.kernel_h - 1) * shape.dilation_h, (shape.kernel_w - 1) * shape.dilation_w
    if max(reach_h, reach_w) > 255:
        return Decline(f"a window reaching {max(reach_h, reach_w)} pixels exceeds the copy engine's 255")
    corners = (
        -shape.pad_top, -shape.pad_left, shape.pad_bottom - reach_h, shape.pad_right - reach_w,
    )  # fmt: skip
    if not all(-128 <= corner <= 127 for corner in corners):
        return Decline(
            f"windows that begin {corners[:2]} before and {corners[2:]} after the image's edges leave the "
            "copy engine's -128..127"
        )
    return None


def steps(problem: Problem) -> int:
    """Blocks of input channels over all filter taps, of all terms."""
    return sum(term.taps * ceil(term.channels / BLOCK) for term in ConvShape.terms(problem))


def configurations(problem: Problem) -> Iterator[Tile]:
    """All tiles that the device can run, with every split that leaves no block waiting for others."""
    shape = ConvShape.of(problem)
    for tile in TILES:
        tiles = ceil(problem.size(shape.pixels) / tile.pixels) * ceil(shape.out_channels / tile.channels)
        blocks = problem.target["multiprocessors"] * tile.resident
        for splits in SPLITS:
            if splits > 1 and (tile.alternate or splits > steps(problem) or tiles * splits > blocks):
                continue
            if (fitted := replace(tile, splits=splits).fitted(problem)) is not None:
                yield fitted


def estimate_us(problem: Problem, tile: Tile) -> float:
    """Predicted time at the sizes that the kernel is chosen for.

    Blocks run in waves; a wave's steps are bound by the tensor cores, by shared memory (filled once,
    read by every warpgroup product) or by latency, and its tiles are finished after that, hidden
    behind the next tile's steps where warpgroups alternate. Constants were fitted to some 900 timings of
    ResNet-18's layers at batch 1, 32 and 256 on an H100: rms error 11%, and the first choice is 2%
    slower than the fastest on average.
    """
    shape, target = ConvShape.of(problem), problem.target
    multiprocessors = target["multiprocessors"]
    pixels = problem.size(shape.pixels)
    blocks = ceil(pixels / tile.pixels) * ceil(shape.out_channels / tile.channels) * tile.splits
    resident = min(tile.resident, ceil(blocks / multiprocessors))
    waves = ceil(blocks / (multiprocessors * resident))
    area = tile.pixels * tile.channels / 8192

    products = 2.0 * tile.pixels * tile.channels * BLOCK / (target["fp16_tflops"] * 0.91e6 / multiprocessors)
    rows = tile.pixels // 64 * (64 + tile.channels) + tile.pixels + tile.channels
    shared = rows * BLOCK * 2 / SHARED_RATE
    step = max(resident * products, resident * shared, 0.128 + 0.019 * area)
    step += 0.068 / (resident * tile.warpgroups)  # turning from one step to the next, unless others run
    work = ceil(steps(problem) / tile.splits) * step
    finish = 0.03 + 0.96 * area * resident
    if tile.splits > 1:
        finish += 1.04 + 0.42 * tile.splits + 0.29 * area * resident
    finishes = 1 + (waves - 1) * (0.83 if tile.alternate else 1.0)
    run = waves * work + finishes * finish
    return LAUNCH_US + max(run, _traffic_us(problem))


def _traffic_us(problem: Problem) -> float:
    """Time to move every tensor once; strides beyond the window skip pixels of the input."""
    cost, skipped = ConvCost.of(problem), 0.0
    for position, term in enumerate(ConvShape.terms(problem)):
        source = problem.operands[2 * position].type
        read = min(1.0, term.kernel_h / term.stride_h) * min(1.0, term.kernel_w / term.stride_w)
        skipped += (1.0 - read) * problem.size(source.element_count) * source.dtype.itemsize
    resident = cost.bytes < 0.6 * problem.target["l2_bytes"]
    return (cost.bytes - skipped) / (problem.target["memory_gbps"] * (2e3 if resident else 0.95e3))


def candidates(problem: Problem) -> Sequence[Candidate]:
    """The most promising configurations, best first."""
    found = [Candidate(tile, estimate_us(problem, tile)) for tile in configurations(problem)]
    return sorted(found, key=lambda candidate: candidate.estimate_us)[:MOST_CANDIDATES]


def pack_weight(weight: np.ndarray, dtype: DType) -> np.ndarray:
    """``[O, I, kh, kw]`` to ``[kh * kw * blocks, O, 64]``, the input channels of a block fastest."""
    out_channels, channels, *taps = weight.shape
    padded = np.pad(weight, ((0, 0), (0, -channels % BLOCK), (0, 0), (0, 0)))
    blocked = padded.reshape(out_channels, -1, BLOCK, *taps).transpose(3, 4, 1, 0, 2)
    return np.ascontiguousarray(blocked).reshape(-1, out_channels, BLOCK).astype(dtype.numpy)


def emit(name: str, problem: Problem, tile: Tile) -> KernelSource:
    """The source of one problem and configuration."""
    text = TEMPLATES.kernel(
        "cuda/conv2d_wgmma.cu.jinja",
        name,
        problem,
        terms=ConvShape.terms(problem),
        element=element_type(problem),
        tile=tile,
        multiprocessors=problem.target["multiprocessors"],
    )
    return KernelSource(
        text,
        headers=TEMPLATES.headers(*HEADERS),
        packings={
            position: partial(pack_weight, dtype=compute_dtype(problem))
            for position in range(1, len(problem.operands), 2)
        },
    )


CONV2D_WGMMA = Kernel(
    name="conv2d_wgmma",
    operator="conv.conv2d",
    target="cuda",
    supports=supports,
    candidates=candidates,
    label=lambda problem, config: ConvShape.of(problem).label("conv2d_wgmma"),
    emit=emit,
)
