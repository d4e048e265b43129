"""``conv2d_gather``: tensor cores for few or odd channels, and for the caller's own tensors.

A thread block brings a rectangle of the input to shared memory, converting it on the way, and
multiplies straight out of it. This is the first convolution of nearly every network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import numpy as np

from fx2ait_core.sdk import Candidate, Decline, Dim, DType, Kernel, KernelSource, Problem, Templates

from .cuda_shape import ConvCost, ConvShape, common_decline, compute_dtype, element_type, launch_variables

TEMPLATES = Templates(__package__)
DTYPES = (DType.float16, DType.bfloat16)
MOST_CANDIDATES = 6
WARPS = 4
RECTANGLES = ((16, 16), (8, 32), (8, 16), (4, 32), (16, 8), (4, 16), (8, 8))
LINES = ((1, 128), (1, 64))
"""Tiles of a problem whose pixels are one long row."""
CHANNELS = (64, 32, 16)


@dataclass(frozen=True)
class Tile:
    """A thread block's work; see ``PatchTile`` in ``patch_gemm.cuh``, whose arithmetic this repeats."""

    rows: int
    columns: int
    channels: int
    sources: int
    warps: int = WARPS

    @property
    def resident(self) -> int:
        """Blocks per multiprocessor that the compiler leaves registers for."""
        accumulators = self.pixel_tiles * self.channels // 2
        return 2 if accumulators > 64 else 3 if self.pixel_tiles > 2 else 4

    @property
    def pixel_tiles(self) -> int:
        """Rows of 16 pixels per warp."""
        return self.rows * self.columns // (16 * self.warps)

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}x{self.channels}, {self.sources} input channels at a time"


@dataclass(frozen=True)
class Patch:
    """How k is laid out, and what a tile needs of shared memory."""

    paired: bool
    lead: int
    row_k: int
    padded_k: int
    chunks: int
    elements: int
    shared_bytes: int

    @classmethod
    def of(cls, shape: ConvShape, tile: Tile) -> Patch:
        paired = shape.stride_w % 2 == 0 and shape.dilation_w == 1
        shift = -shape.pad_left % 4
        lead = shift % 2 if paired else 0
        row_k = (lead + shape.kernel_w + 1) // 2 * 2 if paired else shape.kernel_w
        padded_k = ceil(tile.sources * shape.kernel_h * row_k / 16) * 16
        rows = (tile.rows - 1) * shape.stride_h + (shape.kernel_h - 1) * shape.dilation_h + 1
        reach = row_k if paired else (shape.kernel_w - 1) * shape.dilation_w + 1
        columns = ceil(((tile.columns - 1) * shape.stride_w + shift - lead + reach) / 4) * 4
        elements = tile.sources * rows * columns
        shared = tile.channels * (padded_k + 8) * 2 + padded_k * 4 + elements * 2
        shared += tile.warps * 16 * (tile.channels + 4) * 4
        return cls(paired, lead, row_k, padded_k, ceil(shape.group_in / tile.sources), elements, shared)


@dataclass(frozen=True)
class View:
    """The input as the kernel walks it: images of rows and columns. A pointwise convolution of a
    dense input is one image of one long row."""

    images: Dim
    height: Dim
    width: Dim
    out_height: Dim
    out_width: Dim
    line: bool

    @classmethod
    def of(cls, problem: Problem) -> View:
        shape = ConvShape.of(problem)
        if shape.pointwise and not problem.operands[0].external:
            return cls(1, 1, shape.pixels, 1, shape.pixels, True)
        return cls(shape.batch, shape.height, shape.width, shape.out_height, shape.out_width, False)


def supports(problem: Problem) -> Decline | None:
    """None, or why this kernel does not serve the problem."""
    if not {"mma_sync", "cp_async"} <= problem.target.features:
        return Decline("the device has no mma.sync with cp.async (sm_80 and newer do)")
    if declined := common_decline(problem, DTYPES, external=True):
        return declined
    shape = ConvShape.of(problem)
    if next(_fitting(problem), None) is None:
        window = f"{shape.kernel_h}x{shape.kernel_w} window, stride {shape.stride_h}x{shape.stride_w}"
        return Decline(f"a {window} needs more shared memory than the device has, even for one input channel")
    if shape.groups * ceil(shape.group_out / CHANNELS[-1]) > 65535:
        return Decline(f"{shape.groups} groups exceed a launch grid")
    return None


def _resident(problem: Problem, tile: Tile, patch: Patch) -> int:
    """Blocks that fit on a multiprocessor at once."""
    shared = problem.target["shared_memory_per_multiprocessor"] // (patch.shared_bytes + 1024)
    return int(max(1, min(shared, tile.resident)))


def _sources(problem: Problem, shape: ConvShape, rows: int, columns: int, channels: int) -> int | None:
    """The most input channels at a time, in equal chunks, within a third of the shared memory, or
    failing that within all of it."""

    def fits(sources: int, limit: int) -> bool:
        patch = Patch.of(shape, Tile(rows, columns, channels, sources))
        return patch.shared_bytes <= limit and patch.elements * 2 <= 65536

    for limit in (problem.target["shared_memory_per_multiprocessor"] // 3 - 1024,
                  problem.target["shared_memory_per_block"]):  # fmt: skip
        for chunks in dict.fromkeys(ceil(shape.group_in / s) for s in range(min(64, shape.group_in), 0, -1)):
            sources = ceil(shape.group_in / chunks)
            if fits(sources, limit):
                return sources
    return None


def _fitting(problem: Problem) -> Iterator[Tile]:
    shape, view = ConvShape.of(problem), View.of(problem)
    height, width = problem.size(view.out_height), problem.size(view.out_width)
    rectangles = LINES if view.line else RECTANGLES
    smallest = rectangles[-1]
    for rows, columns in rectangles:
        if (rows, columns) != smallest and (rows >= 2 * height or columns >= 2 * width):
            continue
        for channels in CHANNELS:
            if channels > 16 and channels >= 2 * shape.group_out:
                continue
            if sources := _sources(problem, shape, rows, columns, channels):
                yield Tile(rows, columns, channels, sources)


def estimate_us(problem: Problem, tile: Tile) -> float:
    """Predicted time: per tile, bringing the patch, multiplying and storing, at the slower of the
    tensor cores' and the shared memory's rate; over all tiles, or memory."""
    shape, cost, target, view = ConvShape.of(problem), ConvCost.of(problem), problem.target, View.of(problem)
    patch = Patch.of(shape, tile)
    multiprocessors = target["multiprocessors"]
    across = ceil(problem.size(view.out_width) / tile.columns) * ceil(shape.group_out / tile.channels)
    down = ceil(problem.size(view.out_height) / tile.rows)
    tiles = problem.size(view.images) * down * across * shape.groups

    clock = 1700.0  # cycles per microsecond
    share = 0.62 if target.has("wgmma") else 0.9
    products = target["fp16_tflops"] * 1e6 / 2 / multiprocessors / clock * share  # per cycle
    steps = patch.padded_k // 16 * patch.chunks * tile.warps
    multiply = steps * tile.pixel_tiles * tile.channels * 256 / products
    reads = steps * (tile.channels // 4 + 2 + tile.pixel_tiles * (4 if patch.paired else 8))
    bring = patch.elements * patch.chunks * (0.12 if problem.operands[0].external else 0.35)
    if patch.chunks > 1:
        bring += tile.channels * patch.padded_k * patch.chunks * 2 / 64 + 600 * patch.chunks
    store = tile.rows * tile.columns * tile.channels * 0.06
    # Fitted to an H100: the more blocks on a multiprocessor, the better their phases overlap.
    resident = _resident(problem, tile, patch)
    cycles = (1.5 + 1.0 / resident) * (max(multiply, reads) * 1.15 + bring + store)
    rounds = ceil(patch.elements / (4 * 6 * 32 * tile.warps)) * patch.chunks  # trips to memory and back
    latency = 1500 + 900 * rounds + patch.padded_k // 16 * patch.chunks * 60
    busy = ceil(tiles / multiprocessors)
    turn = max(busy * cycles, ceil(busy / resident) * max(latency, cycles))
    return float(max(turn / clock, cost.memory_us(problem)) + 3.5)


def candidates(problem: Problem) -> Sequence[Candidate]:
    """Fitting tiles, the fastest by estimate first."""
    ranked = [Candidate(tile, estimate_us(problem, tile)) for tile in _fitting(problem)]
    return sorted(ranked, key=lambda candidate: candidate.estimate_us)[:MOST_CANDIDATES]


def pack(shape: ConvShape, tile: Tile, dtype: DType, weight: np.ndarray) -> np.ndarray:
    """``[O, I / groups, kh, kw]`` to ``[group, chunk, O / groups, k]`` with k over (channel of the
    chunk, kernel row, kernel column), zeros where ``Patch`` pads."""
    patch = Patch.of(shape, tile)
    padded = np.zeros(
        (shape.groups, shape.group_out, patch.chunks * tile.sources, shape.kernel_h, patch.row_k), dtype.numpy
    )
    columns = slice(patch.lead, patch.lead + shape.kernel_w)
    by_group = weight.reshape(shape.groups, shape.group_out, shape.group_in, shape.kernel_h, shape.kernel_w)
    padded[:, :, : shape.group_in, :, columns] = by_group.astype(dtype.numpy)
    rows = padded.reshape(shape.groups, shape.group_out, patch.chunks, -1)
    rows = np.pad(rows, ((0, 0), (0, 0), (0, 0), (0, patch.padded_k - rows.shape[3])))
    return np.ascontiguousarray(rows.transpose(0, 2, 1, 3))


def emit(name: str, problem: Problem, config: Tile) -> KernelSource:
    shape, view = ConvShape.of(problem), View.of(problem)
    patch = Patch.of(shape, config)
    across = ceil(shape.group_out / config.channels) * shape.groups
    at_once = problem.target["multiprocessors"] * _resident(problem, config, patch)
    text = TEMPLATES.kernel(
        "cuda/conv2d_gather.cu.jinja",
        name,
        problem,
        shape=shape,
        tile=config,
        element=element_type(problem),
        external=problem.operands[0].external,
        images=view.images,
        height=view.height,
        width=view.width,
        out_height=view.out_height,
        out_width=view.out_width,
        blocks=max(1, at_once // across),
        **launch_variables(problem),
    )
    headers = ("cuda/patch_gemm.cuh", "cuda/patch_loader.cuh", "cuda/warp_epilogue.cuh")
    return KernelSource(
        text,
        headers=TEMPLATES.headers(*headers),
        packings={1: partial(pack, shape, config, compute_dtype(problem))},
    )


def label(problem: Problem, config: Any) -> str:
    return ConvShape.of(problem).label("conv2d_gather")


KERNELS = [
    Kernel(
        name="conv2d_gather",
        operator="conv.conv2d",
        target="cuda",
        supports=supports,
        candidates=candidates,
        label=label,
        emit=emit,
        external_operands=frozenset({0}),
    )
]
