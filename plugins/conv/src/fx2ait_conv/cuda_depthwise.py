"""``conv2d_depthwise``: every group reads one channel; bound by memory, on the CUDA cores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from fx2ait_core.sdk import Candidate, Decline, DType, Kernel, KernelSource, Problem, Templates

from .cuda_shape import ConvCost, ConvShape, common_decline, launch_variables

TEMPLATES = Templates(__package__)
DTYPES = (DType.float16, DType.bfloat16, DType.float32)
THREADS = 128


@dataclass(frozen=True)
class Tile:
    """A thread's neighbouring pixels of a row; threads per block."""

    columns: int
    threads: int = THREADS

    def __str__(self) -> str:
        return f"{self.columns} pixels per thread"


def vector(problem: Problem) -> int:
    """Channels per thread: as many as divide the result's, up to 16 bytes of the input."""
    channels = ConvShape.of(problem).out_channels
    widest = 16 // problem.operands[0].type.dtype.itemsize
    return next(v for v in (8, 4, 2, 1) if v <= widest and channels % v == 0)


def supports(problem: Problem) -> Decline | None:
    """None, or why this kernel does not serve the problem."""
    if declined := common_decline(problem, DTYPES, external=False):
        return declined
    shape = ConvShape.of(problem)
    if shape.group_in != 1:
        return Decline(f"{shape.group_in} input channels per group are not depthwise")
    if shape.kernel_w > 64:
        return Decline(f"a kernel of {shape.kernel_w} columns is too wide to unroll")
    return None


def estimate_us(problem: Problem, tile: Tile) -> float:
    """Predicted time: memory, or instructions at about a third of the device's rate, in waves."""
    shape, cost, target = ConvShape.of(problem), ConvCost.of(problem), problem.target
    channels = vector(problem)
    strips = ceil(problem.size(shape.out_width) / tile.columns)
    lines = problem.size(shape.batch * shape.out_height)
    threads = lines * strips * ceil(shape.out_channels / channels)
    reach = (tile.columns - 1) * shape.stride_w + (shape.kernel_w - 1) * shape.dilation_w + 1
    reads = min(reach, tile.columns * shape.kernel_w)
    work = shape.taps * tile.columns * channels + shape.kernel_h * reads * (channels * 1.5 + 8) + 60
    instructions = target["fp32_tflops"] * 1e6 / 2 * 0.5  # per microsecond
    waves = max(1.0, threads / (target["multiprocessors"] * 1024))
    latency = (shape.kernel_h * 0.5 + 1.0) * waves
    return float(max(threads * work / instructions, latency, 1.5 * cost.memory_us(problem)) + 1.5)


def candidates(problem: Problem) -> Sequence[Candidate]:
    """Strip lengths, the fastest by estimate first."""
    width = problem.size(ConvShape.of(problem).out_width)
    tiles = [Tile(columns) for columns in (1, 2, 4, 8) if columns == 1 or columns <= width]
    ranked = [Candidate(tile, estimate_us(problem, tile)) for tile in tiles]
    return sorted(ranked, key=lambda candidate: candidate.estimate_us)


def pack(weight: np.ndarray) -> np.ndarray:
    """``[O, 1, kh, kw]`` to float32 ``[kh, kw, O]``."""
    return np.ascontiguousarray(weight[:, 0].transpose(1, 2, 0)).astype(np.float32)


def emit(name: str, problem: Problem, config: Tile) -> KernelSource:
    text = TEMPLATES.kernel(
        "cuda/conv2d_depthwise.cu.jinja",
        name,
        problem,
        shape=ConvShape.of(problem),
        tile=config,
        vector=vector(problem),
        **launch_variables(problem),
    )
    return KernelSource(text, headers=TEMPLATES.headers("cuda/depthwise.cuh"), packings={1: pack})


def label(problem: Problem, config: Tile) -> str:
    return ConvShape.of(problem).label("conv2d_depthwise")


KERNELS = [
    Kernel(
        name="conv2d_depthwise",
        operator="conv.conv2d",
        target="cuda",
        supports=supports,
        candidates=candidates,
        label=label,
        emit=emit,
    )
]
