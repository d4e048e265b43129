"""``conv2d_wgmma``: implicit GEMM on Hopper's ``wgmma`` with im2col copies by the copy engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil

import numpy as np

from fx2ait_core.sdk import (
    Candidate,
    Decline,
    DType,
    Kernel,
    KernelSource,
    Problem,
    Templates,
    epilogue_access,
)

from .cuda_hopper import (
    DTYPES,
    channels_decline,
    groups_decline,
    hopper_decline,
    pack_blocks,
    pair_channels,
)
from .cuda_shape import ConvCost, ConvShape, compute_dtype, element_type
from .cuda_wgmma_tile import BLOCK, MOST_STAGES, TILES, Tile

TEMPLATES = Templates(__package__)
HEADERS = tuple(
    f"cuda/{name}.cuh"
    for name in (
        "conv2d_wgmma",
        "pair_epilogue",
        "pair_split",
        "split_shares",
        "wgmma_epilogue",
        "wgmma_loader",
        "wgmma_operands",
        "wgmma_ring",
        "wgmma_share",
        "wgmma_split",
    )
)
MOST_CANDIDATES = 8
SPLITS = (1, 2, 3, 4, 6, 8)
"""Parts of a sum, computed by the blocks of one cluster."""
SHARING = ((2, 1), (1, 2), (2, 2))
"""Blocks of a cluster that share their filters, and their pixels."""
MOST_BLOCKS = 8
"""The largest portable cluster."""
USABLE = {1: 1.0, 2: 1.0, 3: 0.886, 4: 0.909, 5: 0.833, 6: 0.773, 7: 0.795, 8: 0.909}
"""The part of the multiprocessors that clusters of so many blocks can take: each lies within one of the
device's groups of up to 18 multiprocessors. As an H200 says (``cudaOccupancyMaxActiveClusters``)."""


def supports(problem: Problem) -> Decline | None:
    """None, or why this kernel does not serve the problem."""
    if declined := hopper_decline(problem):
        return declined
    declines = (shape_decline(term) for term in ConvShape.terms(problem))
    return next((declined for declined in declines if declined), None)


def shape_decline(shape: ConvShape) -> Decline | None:
    """Limits of a convolution's geometry."""
    return groups_decline(shape) or channels_decline(shape) or _window_decline(shape)


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


def fetchable_operands(problem: Problem) -> tuple[str, ...]:
    """Names of the epilogue's operands that are laid out as the result; none if the copy engine cannot
    bring all of them."""
    names = []
    for index, operand in enumerate(problem.epilogue_operands):
        if epilogue_access(operand, problem.result) == "element":
            if operand.type.dtype not in DTYPES or operand.external:
                return ()
            names.append(f"e{index}")
    return tuple(names)


def configurations(problem: Problem) -> Iterator[Tile]:
    """All tiles that the device can run, with every split that leaves no block waiting for others.

    Where a block has one tile, it gets no more stages than steps: the less shared memory it takes, the
    sooner the next kernel's blocks move in beside it.
    """
    shape, operands = ConvShape.of(problem), len(fetchable_operands(problem))
    size, all_steps = (problem.size(shape.pixels), shape.out_channels), steps(problem)
    seen = set()
    for tile in (*TILES, *_sharing_tiles(*size)):
        tiles, blocks = tile.tiles(*size), problem.target["multiprocessors"] * tile.resident
        for splits in SPLITS:
            if splits > 1 and (tile.alternate or splits > all_steps or tiles * splits > blocks):
                continue
            split = replace(tile, splits=splits)
            if split.cluster > MOST_BLOCKS:
                continue
            most = ceil(all_steps / splits) if tiles <= blocks else MOST_STAGES
            fitted = split.fitted(problem, most)
            if fitted is None or (same := replace(fitted, resident=0)) in seen:
                continue
            seen.add(same)
            fetches = operands > 0 and splits == 1 and not tile.loads_early
            if fetches and 0 < fitted.operand_steps(operands) <= fitted.stages - 2:
                yield replace(fitted, fetches=True)
                if not tile.alternate:  # whose other warpgroup hides what fetching would
                    continue
            yield fitted


def _sharing_tiles(pixels: int, channels: int) -> Iterator[Tile]:
    """Tiles whose blocks share filters or pixels, unless too many of a cluster's tiles would lie outside
    a result of that size."""
    for tile in TILES:
        for filter_sharers, pixel_sharers in SHARING:
            if tile.pixels % (8 * pixel_sharers):
                continue  # each brings whole groups of 8 pixels
            sharing = replace(tile, filter_sharers=filter_sharers, pixel_sharers=pixel_sharers)
            if sharing.tiles(pixels, channels) <= 1.25 * tile.tiles(pixels, channels):
                yield sharing


@dataclass(frozen=True)
class Cost:
    """What the time of a problem depends on, at the sizes that the kernel is chosen for.

    :param operands: of the epilogue, laid out as the result.
    :param traffic_us: time to move every tensor once.
    """

    pixels: int
    out_channels: int
    steps: int
    operands: int
    traffic_us: float
    multiprocessors: int
    fp16_tflops: float

    @classmethod
    def of(cls, problem: Problem) -> Cost:
        shape = ConvShape.of(problem)
        return cls(
            problem.size(shape.pixels),
            shape.out_channels,
            steps(problem),
            sum(epilogue_access(o, problem.result) == "element" for o in problem.epilogue_operands),
            _traffic_us(problem),
            problem.target["multiprocessors"],
            problem.target["fp16_tflops"],
        )

    def estimate_us(self, tile: Tile) -> float:
        """Predicted time in a chain of dependent launches.

        Blocks run in waves; a wave's steps are bound by the tensor cores, by copies into shared memory or
        by their latency, and its tiles are finished after that, partly hidden where warpgroups alternate.
        Constants were fitted to some 3,500 timings of ResNet-18's layers at batch 1 to 256 on an H100: rms
        error 11%, and the fastest of the first 8 choices is 0.2% slower than the fastest of all. What differs
        for channels as rows was fitted to some 500 timings of ResNet-18's and ResNet-50's layers on an H200:
        rms error 12%; the fastest of the first 5 choices is 0.6% slower than the fastest of all. Sharing
        spares a block no time of its own copies, as all bytes still come to it; it spares the
        second-level cache.
        """
        tiles = tile.tiles(self.pixels, self.out_channels)
        blocks = tiles * tile.splits
        at_once = tile.cluster * round(self.multiprocessors * USABLE[tile.cluster] / tile.cluster)
        resident = min(tile.resident, ceil(blocks / at_once))
        waves = ceil(blocks / (at_once * resident))
        area = tile.pixels * tile.channels / 8192 * resident

        rate = self.fp16_tflops * 0.948e6 / self.multiprocessors
        products = 2.0 * tile.pixels * tile.channels * BLOCK / rate
        contention = 0.69 + 0.31 * min(1.0, blocks / self.multiprocessors)  # for the second-level cache
        copies = (1.07e-3 * tile.pixels + 1.03e-3 * tile.channels) * contention
        step = max(resident * products, resident * copies, 0.119, 0.84 / tile.stages)
        step += 0.017 / (resident * tile.warpgroups)  # turning from one step to the next, unless others run
        step += 0.005 * (tile.sharers - 1)
        work = ceil(self.steps / tile.splits) * step
        if tile.channel_rows:  # where threads exchange nothing
            finish, exposed = (0.55 + 0.58 * self.operands) * area, 0.39
        else:
            finish, exposed = (0.84 + 0.39 * self.operands) * area, 0.99
        if tile.splits > 1:
            finish += 0.4 + 0.55 * area
        finishes = 1 + (waves - 1) * (exposed if tile.alternate else 1.0)
        meeting = 0.41 if tile.sharers > 1 else 0.0  # of blocks that share
        fetched = tiles * self.steps * BLOCK * 2.0
        fetched *= 3.7e-8 * tile.pixels / tile.pixel_sharers + 1.6e-9 * tile.channels / tile.filter_sharers
        return 1.03 + max(waves * work + finishes * finish + meeting + fetched, self.traffic_us)


def _traffic_us(problem: Problem) -> float:
    """Time to move every tensor once; strides beyond the window skip pixels of the input."""
    cost, skipped = ConvCost.of(problem), 0.0
    for position, term in enumerate(ConvShape.terms(problem)):
        source = problem.operands[2 * position].type
        read = min(1.0, term.kernel_h / term.stride_h) * min(1.0, term.kernel_w / term.stride_w)
        skipped += (1.0 - read) * problem.size(source.element_count) * source.dtype.itemsize
    resident = cost.bytes < 0.6 * problem.target["l2_bytes"]
    return (cost.bytes - skipped) / (problem.target["memory_gbps"] * (2e3 if resident else 0.85e3))


def candidates(problem: Problem) -> Sequence[Candidate]:
    """The most promising configurations, best first."""
    cost = Cost.of(problem)
    found = [Candidate(tile, cost.estimate_us(tile)) for tile in configurations(problem)]
    return sorted(found, key=lambda candidate: candidate.estimate_us)[:MOST_CANDIDATES]


def pack_weight(weight: np.ndarray, dtype: DType, paired: bool = False) -> np.ndarray:
    """``[O, I, kh, kw]`` to ``[kh * kw * blocks, O, 64]``, the input channels of a block fastest.

    Where filters are the rows of the products they are ``paired`` (see :func:`.cuda_hopper.pair_channels`).
    """
    return pack_blocks(pair_channels(weight) if paired else weight, BLOCK, dtype)


def emit(name: str, problem: Problem, tile: Tile) -> KernelSource:
    """The source of one problem and configuration."""
    text = TEMPLATES.kernel(
        "cuda/conv2d_wgmma.cu.jinja",
        name,
        problem,
        terms=ConvShape.terms(problem),
        element=element_type(problem),
        tile=tile,
        fetched=fetchable_operands(problem) if tile.fetches else (),
        multiprocessors=problem.target["multiprocessors"],
    )
    return KernelSource(
        text,
        headers=TEMPLATES.headers(*HEADERS),
        packings={
            position: partial(pack_weight, dtype=compute_dtype(problem), paired=tile.channel_rows)
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
