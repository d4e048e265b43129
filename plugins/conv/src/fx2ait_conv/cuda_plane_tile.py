"""The variant of ``conv2d_strip`` for Hopper's tensor cores: its order of k, its geometry, its cost."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from fx2ait_core.sdk import DType, Problem

from .cuda_shape import ConvShape
from .cuda_strip_tile import Bands, Cycles, Tile

THREADS = 128
"""Of each of a block's two warpgroups: one multiplies, the other brings and stores."""
COLUMNS = 64
MOST_RESIDENT = 2


@dataclass(frozen=True)
class PlaneOrder:
    """How k is ordered; the arithmetic of ``PlaneTile`` in ``plane_tile.cuh``.

    A channel's 8 neighbouring columns are a chunk; a kernel row covers ``chunks`` of each channel, from
    element ``shift`` of the first one on. A step of k is two of a row's ``units`` or, where their number
    is odd, the last one of a row and of the next.
    """

    shift: int
    chunks: int
    units: int
    side_steps: int
    steps: int

    @classmethod
    def of(cls, shape: ConvShape) -> PlaneOrder:
        parity = shape.pad_left % 2
        chunks = ceil(shape.kernel_w / 8)
        even = shape.stride_w % 2 == 0 and ceil((shape.kernel_w + parity) / 8) == chunks
        units = shape.channels * chunks
        side_steps = units // 2
        steps = shape.kernel_h * side_steps + units % 2 * ceil(shape.kernel_h / 2)
        return cls(parity if even else 0, chunks, units, side_steps, steps)


def pack_planes(shape: ConvShape, channels: int, dtype: DType, weight: np.ndarray) -> np.ndarray:
    """``[O, I, kh, kw]`` to ``[O / channels, 2 k_steps, channels, 8]``, zeros where there is nothing."""
    order = PlaneOrder.of(shape)
    tiles = ceil(shape.out_channels / channels)
    taps = np.zeros((tiles * channels, shape.channels, shape.kernel_h, order.chunks * 8), dtype.numpy)
    taps[: shape.out_channels, ..., order.shift : order.shift + shape.kernel_w] = weight.astype(dtype.numpy)
    units = taps.reshape(tiles * channels, shape.channels, shape.kernel_h, order.chunks, 8)
    units = units.transpose(0, 2, 1, 3, 4).reshape(tiles * channels, shape.kernel_h, order.units, 8)
    beside = units[:, :, : order.side_steps * 2].reshape(tiles * channels, -1, 8)
    below = units[:, :, order.side_steps * 2 :].reshape(tiles * channels, -1, 8)
    below = np.pad(below, ((0, 0), (0, below.shape[1] % 2), (0, 0)))
    steps = np.concatenate([beside, below], axis=1)
    return np.ascontiguousarray(steps.reshape(tiles, channels, -1, 8).transpose(0, 2, 1, 3))


@dataclass(frozen=True)
class PlaneGeometry:
    """What a tile needs. ``copies``: of 4 columns, that bring a band's rows to shared memory."""

    bands: Bands
    copies: int
    shared_bytes: int
    resident: int

    @classmethod
    def of(cls, problem: Problem, tile: Tile) -> PlaneGeometry:
        shape, bands = ConvShape.of(problem), Bands.of(problem, tile)
        order = PlaneOrder.of(shape)
        quads = ceil((3 + (COLUMNS - 1) * shape.stride_w + order.chunks * 8) / 4)
        copies = bands.fresh * shape.channels * quads
        ring = ceil((bands.blocks + 1) * copies * 8 / 128) * 128
        source = 4 if problem.operands[0].external else 2
        raw = ceil(bands.blocks * copies * 4 * source / 128) * 128
        weights = order.steps * tile.channels * 32
        staging = tile.steps * COLUMNS * (tile.channels * problem.result.dtype.itemsize + 16)
        shared = weights + ring + raw + staging
        barriers = 8 * (2 * (bands.blocks + 1) + 2)
        by_memory = int(problem.target["shared_memory_per_multiprocessor"]) // (shared + barriers + 1024)
        return cls(bands, copies, shared, max(1, min(by_memory, MOST_RESIDENT)))


def plane_cycles(problem: Problem, tile: Tile) -> Cycles:
    """What a tile's blocks cost. Products of few channels wait for rows, which one warpgroup brings;
    fitted to the ``standalone-stem`` record, rms error 8%."""
    geometry, steps = PlaneGeometry.of(problem, tile), PlaneOrder.of(ConvShape.of(problem)).steps
    product = steps * tile.channels / 2
    row = max(1.1 * product, 193 + 0.52 * product + 0.8 * geometry.copies / geometry.bands.rows)
    band = 240 + geometry.bands.rows * row
    return Cycles(860 + 2.2 * geometry.bands.kept * row, band, 1600, 1.35 * band)
