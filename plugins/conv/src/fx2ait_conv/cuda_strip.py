"""``conv2d_strip``: tensor cores for up to 8 channels, and windows reduced before anything is stored.

A thread block walks down a strip of the result. This is the first convolution of nearly every network,
and the pooling behind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import product
from math import ceil
from typing import Any

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

from .cuda_plane_tile import PlaneGeometry, PlaneOrder, pack_planes, plane_cycles
from .cuda_shape import ConvShape, common_decline, compute_dtype, element_type, largest, launch_variables
from .cuda_strip_tile import Geometry, Tile, estimate_us, pixel_channels, strip_cycles, window_of

TEMPLATES = Templates(__package__)
DTYPES = (DType.float16, DType.bfloat16)
MOST_CANDIDATES = 6
MOST_CHANNELS = 8
WARPS = (4, 2)
CHANNELS = (64, 32, 16)
STEPS = (1, 2, 4)
SUMS = 128
"""Accumulators per thread at most; what else a thread holds fits beside them."""
MOST_PRODUCTS = 256
"""Of a band on wgmma, all unrolled: more take a minute to compile."""
EFFORT = 4
"""Bands are unrolled whole, once for each type that an engine's input may have."""
STRIP_HEADERS = ["strip_conv", "strip_block", "strip_rows"]
PLANE_HEADERS = ["plane_conv", "plane_products", "plane_rows", "plane_tile"]
STRIPS = (1, 2, 4, 7, 8, 14, 16, 28, 32, 56, 1 << 20)


def supports(problem: Problem) -> Decline | None:
    """None, or why this kernel does not serve the problem."""
    if not {"mma_sync", "cp_async"} <= problem.target.features:
        return Decline("the device has no mma.sync with cp.async (sm_80 and newer do)")
    if declined := common_decline(problem, DTYPES, external=True):
        return declined
    shape = ConvShape.of(problem)
    if shape.groups != 1:
        return Decline(f"{shape.groups} groups: it takes one")
    if shape.channels > MOST_CHANNELS:
        return Decline(f"{shape.channels} input channels: it takes at most {MOST_CHANNELS}")
    window = problem.window
    if window is not None and (window.reduction != "max" or max(window.dilation) > 1):
        return Decline(f"it reduces no windows of {window}")
    if next(_fitting(problem), None) is None:
        return Decline("a band needs more registers or shared memory than the device has")
    blocks = problem.result.shape[0] * problem.result.shape[2] * problem.result.shape[3]
    if largest(problem, blocks) > 2**31 - 1:
        return Decline("its blocks exceed a launch grid")
    return None


def _fitting(problem: Problem) -> Iterator[Tile]:
    shape, window = ConvShape.of(problem), window_of(problem)
    result_height = problem.size(problem.result.shape[2])
    width = problem.size(shape.out_width)
    neighbours = shape.dilation_w == 1 and problem.target.has("wgmma")
    for wgmma, warps, channels, steps in product((True, False), WARPS, CHANNELS, STEPS):
        if wgmma and not (neighbours and warps == 4 and channels in (32, 64)):
            continue
        rows = steps * window.stride[0]
        if wgmma and rows * PlaneOrder.of(shape).steps > MOST_PRODUCTS:
            continue
        if rows * channels // 2 > SUMS or window.kernel[0] - window.stride[0] > rows:
            continue
        if (steps > STEPS[0] and steps >= 2 * result_height) or (warps > WARPS[-1] and 8 * warps >= width):
            continue
        if (channels > CHANNELS[-1] and channels >= 2 * shape.out_channels) or 16 * warps < window.kernel[1]:
            continue
        if 32 * warps < channels // shape.vector:
            continue
        lengths = sorted({min(ceil(s / steps) * steps, ceil(result_height / steps) * steps) for s in STRIPS})
        for strip in lengths:
            tile = Tile(warps, channels, steps, strip, wgmma)
            if _geometry(problem, tile).shared_bytes <= problem.target["shared_memory_per_block"]:
                yield tile


def _geometry(problem: Problem, tile: Tile) -> Geometry | PlaneGeometry:
    return PlaneGeometry.of(problem, tile) if tile.wgmma else Geometry.of(problem, tile)


def _estimate_us(problem: Problem, tile: Tile) -> float:
    cycles = plane_cycles(problem, tile) if tile.wgmma else strip_cycles(problem, tile)
    return estimate_us(problem, tile, cycles, _geometry(problem, tile).resident)


def candidates(problem: Problem) -> Sequence[Candidate]:
    """Fitting tiles, the fastest by estimate first."""
    ranked = [Candidate(tile, _estimate_us(problem, tile)) for tile in _fitting(problem)]
    return sorted(ranked, key=lambda candidate: candidate.estimate_us)[:MOST_CANDIDATES]


def pack(shape: ConvShape, channels: int, dtype: DType, weight: np.ndarray) -> np.ndarray:
    """``[O, I, kh, kw]`` to ``[O / channels, k / 8, channels, 8]`` with k over (kernel row, kernel
    column, channel of a pixel), zeros where channels, a pixel or a kernel row are padded."""
    pixel = pixel_channels(shape)
    row_k = ceil(shape.kernel_w * pixel / 16) * 16
    rows = np.zeros((shape.out_channels, shape.kernel_h, shape.kernel_w, pixel), dtype.numpy)
    rows[..., : shape.channels] = weight.transpose(0, 2, 3, 1).astype(dtype.numpy)
    rows = rows.reshape(shape.out_channels, shape.kernel_h, -1)
    rows = np.pad(rows, ((0, 0), (0, 0), (0, row_k - rows.shape[2])))
    tiles = ceil(shape.out_channels / channels)
    rows = np.pad(rows.reshape(shape.out_channels, -1), ((0, tiles * channels - shape.out_channels), (0, 0)))
    return np.ascontiguousarray(rows.reshape(tiles, channels, -1, 8).transpose(0, 2, 1, 3))


def emit(name: str, problem: Problem, config: Tile) -> KernelSource:
    shape = ConvShape.of(problem)
    accesses = [epilogue_access(operand, problem.computed) for operand in problem.epilogue_operands]
    text = TEMPLATES.kernel(
        "cuda/conv2d_strip.cu.jinja",
        name,
        problem,
        shape=shape,
        window=window_of(problem),
        tile=config,
        geometry=_geometry(problem, config),
        element=element_type(problem),
        external=problem.operands[0].external,
        reads_elements=str("element" in accesses).lower(),
        **launch_variables(problem),
    )
    names = ["strip_bands", "strip_tile", "strip_windows", "strip_launch", "patch_loader"]
    names += PLANE_HEADERS if config.wgmma else STRIP_HEADERS
    packing = pack_planes if config.wgmma else pack
    return KernelSource(
        text,
        headers=TEMPLATES.headers(*(f"cuda/{header}.cuh" for header in names)),
        packings={1: partial(packing, shape, config.channels, compute_dtype(problem))},
        effort=EFFORT,
    )


def label(problem: Problem, config: Any) -> str:
    """E.g. ``conv2d_strip_7x7s2_3x224x224_64``, with ``_max3x3s2`` where windows are reduced."""
    text = ConvShape.of(problem).label("conv2d_strip")
    if problem.window is None:
        return text
    kernel, stride = problem.window.kernel, problem.window.stride
    return f"{text}_{problem.window.reduction}{kernel[0]}x{kernel[1]}s{max(stride)}"


KERNELS = [
    Kernel(
        name="conv2d_strip",
        operator="conv.conv2d",
        target="cuda",
        supports=supports,
        candidates=candidates,
        label=label,
        emit=emit,
        external_operands=frozenset({0}),
        absorbs_windows=True,
    )
]
