"""``conv2d_simt``: implicit GEMM in float32 on the CUDA cores. It takes every convolution: float32
engines, and what the tensor-core kernels decline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil

import numpy as np

from fx2ait_core.sdk import Candidate, Decline, DType, Kernel, KernelSource, Problem, Templates

from .cuda_shape import ConvCost, ConvShape, as_rows, common_decline, launch_variables

TEMPLATES = Templates(__package__)
DTYPES = (DType.float32, DType.float16, DType.bfloat16)
DEPTH = 16


@dataclass(frozen=True)
class Tile:
    """A thread block's share of the matrix product; see ``SimtTile`` in ``simt_gemm.cuh``."""

    pixels: int
    channels: int
    thread_pixels: int
    thread_channels: int

    @property
    def threads(self) -> int:
        return (self.pixels // self.thread_pixels) * (self.channels // self.thread_channels)

    def __str__(self) -> str:
        return f"{self.pixels}x{self.channels}, {self.thread_pixels}x{self.thread_channels} per thread"


TILES = (
    Tile(128, 128, 8, 8),
    Tile(128, 64, 8, 4),
    Tile(64, 64, 4, 4),
    Tile(64, 32, 4, 4),
    Tile(128, 16, 4, 4),
    Tile(32, 32, 4, 4),
)


def supports(problem: Problem) -> Decline | None:
    """None, or why this kernel does not serve the problem."""
    if declined := common_decline(problem, DTYPES, external=True):
        return declined
    shape = ConvShape.of(problem)
    if shape.groups > 65535:
        return Decline(f"{shape.groups} groups exceed a launch grid")
    return None


def estimate_us(problem: Problem, tile: Tile) -> float:
    """Predicted time: waves of blocks at a good share of the float32 rate, or memory."""
    shape, cost, target = ConvShape.of(problem), ConvCost.of(problem), problem.target
    multiprocessors = target["multiprocessors"]
    blocks = ceil(cost.pixels / tile.pixels) * ceil(shape.group_out / tile.channels) * shape.groups
    reuse = tile.thread_pixels * tile.thread_channels / (tile.thread_pixels + tile.thread_channels)
    rate = target["fp32_tflops"] * 1e6 / multiprocessors * 0.8 * reuse / (reuse + 1.5)
    steps = ceil(shape.k / DEPTH)
    work = 2.0 * tile.pixels * tile.channels * DEPTH / rate
    resident = max(1, 1024 // tile.threads // (2 if tile.thread_channels == 8 else 1))
    full, rest = divmod(blocks, resident * multiprocessors)
    turn = [max(steps * max(n * work, 0.45), 0.5) + 1.0 for n in (resident, ceil(rest / multiprocessors))]
    return float(max(full * turn[0] + (turn[1] if rest else 0.0), cost.memory_us(problem)) + 2.0)


def _fitting(problem: Problem) -> Iterator[Tile]:
    group_out = ConvShape.of(problem).group_out
    return (tile for tile in TILES if tile.channels == 16 or tile.channels < 2 * group_out)


def candidates(problem: Problem) -> Sequence[Candidate]:
    """Fitting tiles, the fastest by estimate first."""
    ranked = [Candidate(tile, estimate_us(problem, tile)) for tile in _fitting(problem)]
    return sorted(ranked, key=lambda candidate: candidate.estimate_us)


def pack(groups: int, weight: np.ndarray) -> np.ndarray:
    """``[O, I / groups, kh, kw]`` to float32 ``[group, K, O / groups]``, K over (kh, kw, channel) in
    multiples of 16, channels in multiples of 4, padded with zeros."""
    rows = as_rows(weight).astype(np.float32)
    by_group = rows.reshape(groups, rows.shape[0] // groups, -1)
    padding = ((0, 0), (0, -by_group.shape[1] % 4), (0, -by_group.shape[2] % DEPTH))
    return np.ascontiguousarray(np.pad(by_group, padding).transpose(0, 2, 1))


def emit(name: str, problem: Problem, config: Tile) -> KernelSource:
    shape, external = ConvShape.of(problem), problem.operands[0].external
    text = TEMPLATES.kernel(
        "cuda/conv2d_simt.cu.jinja",
        name,
        problem,
        shape=shape,
        tile=config,
        external=external,
        padded_k=ceil(shape.k / DEPTH) * DEPTH,
        padded_out=ceil(shape.group_out / 4) * 4,
        input_vector=4 if shape.group_in % 4 == 0 and not external else 1,
        **launch_variables(problem),
    )
    headers = TEMPLATES.headers("cuda/simt_gemm.cuh", "cuda/patch_loader.cuh")
    return KernelSource(text, headers=headers, packings={1: partial(pack, shape.groups)})


def label(problem: Problem, config: Tile) -> str:
    return ConvShape.of(problem).label("conv2d_simt")


KERNELS = [
    Kernel(
        name="conv2d_simt",
        operator="conv.conv2d",
        target="cuda",
        supports=supports,
        candidates=candidates,
        label=label,
        emit=emit,
        external_operands=frozenset({0}),
    )
]
