"""Tiles of ``conv2d_strip``: their geometry, and what they are expected to cost."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, gcd

from fx2ait_core.sdk import Problem, WindowReduction

from .cuda_shape import ConvCost, ConvShape

CLOCK = 1700.0
"""Cycles per microsecond."""
LAUNCH_US = 2.3


@dataclass(frozen=True)
class Tile:
    """A thread block's work: ``warps`` of 16 columns and ``channels`` of the convolution; ``steps``
    rows of the result at a time, ``strip`` in all. ``wgmma``: on Hopper's tensor cores."""

    warps: int
    channels: int
    steps: int
    strip: int
    wgmma: bool = False

    def __str__(self) -> str:
        return (
            f"{self.steps} rows x {16 * self.warps} columns x {self.channels} at a time, "
            f"strips of {self.strip} rows" + (", wgmma" if self.wgmma else "")
        )


def window_of(problem: Problem) -> WindowReduction:
    """The problem's window, or one that leaves everything as it is."""
    if problem.window is not None:
        return problem.window
    one = (1, 1)
    return WindowReduction("max", one, one, (0, 0), one, one, one)


@dataclass(frozen=True)
class Bands:
    """Rows of the convolution that a tile computes and keeps per band, and of the input that are new to
    it; ``blocks`` times as many hold what it reads. The arithmetic of ``StripBands``."""

    rows: int
    kept: int
    fresh: int
    blocks: int

    @classmethod
    def of(cls, problem: Problem, tile: Tile) -> Bands:
        shape, window = ConvShape.of(problem), window_of(problem)
        rows = tile.steps * window.stride[0]
        fresh = rows * shape.stride_h
        needed = (rows - 1) * shape.stride_h + (shape.kernel_h - 1) * shape.dilation_h + 1
        return cls(rows, max(0, window.kernel[0] - window.stride[0]), fresh, ceil(needed / fresh))


@dataclass(frozen=True)
class Geometry:
    """How k is laid out, and what a tile needs; the arithmetic of ``StripTile`` in ``strip_tile.cuh``.

    ``pixel``: channels of a pixel in shared memory. ``chunks``: of 16 bytes, that a band brings to
    shared memory.
    """

    pixel: int
    row_steps: int
    padded_k: int
    bands: Bands
    chunks: int
    shared_bytes: int
    resident: int

    @classmethod
    def of(cls, problem: Problem, tile: Tile) -> Geometry:
        shape, bands = ConvShape.of(problem), Bands.of(problem, tile)
        pixel = pixel_channels(shape)
        unit = 8 // pixel
        copies = unit // gcd(shape.stride_w, unit)
        row_steps = ceil(shape.kernel_w * pixel / 16)
        padded_k = shape.kernel_h * row_steps * 16
        columns = 16 * tile.warps
        reach = (shape.kernel_w - 1) * shape.dilation_w + 1
        window_chunks = reach if shape.dilation_w > 1 else 2 * row_steps
        row_chunks = ceil((columns - 1) * shape.stride_w / unit) + window_chunks
        copy_bytes = bands.blocks * bands.fresh * row_chunks * 16 + (64 if copies > 1 else 0)
        patch = _up(copies * copy_bytes + (2 * row_steps - 1) * 16 * shape.dilation_w + 16)
        weights = tile.channels * padded_k * 2
        source = 4 if problem.operands[0].external else 2
        raw = _up(shape.channels * bands.fresh * ceil((3 + (row_chunks + 1) * unit) / 4) * 4 * source)
        staging = tile.steps * columns * (tile.channels * problem.result.dtype.itemsize + 16)
        shared = weights + patch + raw + staging
        registers = 88 + bands.rows * tile.channels // 2 + bands.kept * tile.channels // 4
        by_registers = 65536 // (32 * tile.warps * min(255, registers))
        by_memory = int(problem.target["shared_memory_per_multiprocessor"]) // (shared + 1024)
        resident = max(1, min(by_registers, by_memory, 8))
        chunks = copies * bands.fresh * row_chunks
        return cls(pixel, row_steps, padded_k, bands, chunks, shared, resident)


def _up(size: int) -> int:
    return ceil(size / 128) * 128


def pixel_channels(shape: ConvShape) -> int:
    """Channels of a pixel in shared memory: a power of two, with which k is shortest."""
    fitting = [p for p in (1, 2, 4, 8) if p >= shape.channels and (shape.dilation_w == 1 or p == 8)]

    def cost(pixel: int) -> tuple[int, int]:
        unit = 8 // pixel
        return ceil(shape.kernel_w * pixel / 16), unit // gcd(shape.stride_w, unit)

    return min(fitting, key=cost)


@dataclass(frozen=True)
class Cycles:
    """What a block costs its multiprocessor among others, and how long it takes alone, where it waits
    for memory and each warp for its own products. Fitted to an H100."""

    begin: float
    band: float
    begin_alone: float
    band_alone: float


def strip_cycles(problem: Problem, tile: Tile) -> Cycles:
    """What the blocks of a tile on mma.sync cost."""
    target, geometry = problem.target, Geometry.of(problem, tile)
    columns = 16 * tile.warps
    steps = geometry.padded_k // 16
    rate = target["fp16_tflops"] * 1e6 / 2 / target["multiprocessors"] / CLOCK
    product = columns * tile.channels * geometry.padded_k / (rate * (0.5 if target.has("wgmma") else 0.9))
    finish = columns * tile.channels * 0.03
    bring = geometry.chunks * 0.6
    above = (product + finish) * geometry.bands.kept
    begin = 600 + geometry.chunks * geometry.bands.blocks * 1.5 + above
    band = 150 + geometry.bands.rows * (product + finish) + bring
    alone = 950 + geometry.bands.rows * tile.channels * (steps + 4.5)
    return Cycles(begin, band, 3200 + geometry.bands.kept * tile.channels * steps, max(alone, band))


def estimate_us(problem: Problem, tile: Tile, cycles: Cycles, resident: int) -> float:
    """Predicted time: rounds of the ``resident`` blocks that fit on the busiest multiprocessor, or memory."""
    shape, window = ConvShape.of(problem), window_of(problem)
    images, _, height, width = problem.shape(problem.result.shape)
    columns = 16 * tile.warps
    fits = problem.size(shape.out_width) <= columns
    most = width if fits else (columns - window.kernel[1]) // window.stride[1] + 1
    strip = min(tile.strip, height)
    blocks = images * ceil(width / most) * ceil(height / strip) * ceil(shape.out_channels / tile.channels)
    busy = ceil(blocks / problem.target["multiprocessors"])
    bands = ceil(strip / tile.steps)
    work = cycles.begin + bands * cycles.band
    alone = cycles.begin_alone + bands * cycles.band_alone
    rounds = [float(resident)] * (busy // resident)
    if last := busy % resident:  # where more would fit, some multiprocessors get more than others
        rounds.append(last * 1.2 if last > 1 else last)
    turn = sum(max(alone, together * work) for together in rounds)
    return float(max(turn / CLOCK, ConvCost.of(problem).memory_us(problem)) + LAUNCH_US)
