"""Matrix products for ``cuda``: few rows by warps, many by tensor cores, float32 by ordinary ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fx2ait_core.sdk import Candidate, Decline, DType, Kernel, KernelSource, Problem, Templates

from .operators import Linear, MatMul
from .product_shape import ProductShape, common_decline, external_strides, label

TEMPLATES = Templates(__package__ or "fx2ait_linear")
HALVES = (DType.float16, DType.bfloat16)
STORED = (DType.float32, *HALVES)
LAUNCH_US = 2.0


@dataclass(frozen=True)
class GemvConfig:
    """A block takes ``rows`` rows; ``splits`` of its 4 warps share the depth of a column."""

    rows: int
    splits: int

    def __str__(self) -> str:
        return f"{self.rows} rows, {self.splits} splits"


@dataclass(frozen=True)
class TileConfig:
    """A block's tile and its warps' pieces; see ``Tile`` in ``gemm_mma.cuh``."""

    m: int
    n: int
    depth: int
    warp_m: int
    warp_n: int
    splits: int
    stages: int

    @property
    def warps(self) -> int:
        return self.m // self.warp_m * (self.n // self.warp_n) * self.splits

    @property
    def shared_bytes(self) -> int:
        """An upper bound for both ways in which the second operand is kept."""
        buffers = max(self.n * (self.depth + 8), self.depth * (self.n + 8)) + self.m * (self.depth + 8)
        return max(self.stages * buffers * 2, self.splits * self.m * (self.n + 4) * 4)

    def __str__(self) -> str:
        return f"{self.m}x{self.n}x{self.depth}, {self.splits} splits, {self.stages} stages"


@dataclass(frozen=True)
class SimtConfig:
    """Blocks of 64 x 64."""

    def __str__(self) -> str:
        return "64x64x16"


TILES = (
    TileConfig(16, 32, 128, 16, 16, 2, 4),
    TileConfig(16, 64, 128, 16, 16, 1, 4),
    TileConfig(32, 32, 128, 16, 16, 2, 3),
    TileConfig(32, 64, 64, 16, 32, 2, 4),
    TileConfig(64, 64, 64, 32, 32, 1, 4),
    TileConfig(64, 64, 64, 32, 32, 2, 3),
    TileConfig(64, 128, 64, 32, 64, 1, 3),
    TileConfig(128, 64, 64, 64, 32, 1, 3),
    TileConfig(128, 128, 32, 64, 64, 1, 4),
    TileConfig(128, 128, 64, 64, 32, 1, 3),
)
MOST_CANDIDATES = 5


def compute_dtype(problem: Problem) -> DType:
    """What the operands are multiplied in: the first one's type. An external one's own type is
    known only at run time; then a 16-bit result says what the engine computes in."""
    source, other, result = problem.operands[0], problem.operands[1], problem.result
    if source.external and not other.constant:
        return other.type.dtype
    if source.external and source.type.dtype not in HALVES and result.dtype in HALVES:
        return result.dtype
    return source.type.dtype


def _vector(dtype: DType) -> int:
    return 16 // dtype.itemsize


def _packed_k(problem: Problem) -> int:
    """Elements from one column's weights to the next, when they are stored column by column."""
    vector = _vector(compute_dtype(problem))
    return -(-ProductShape.of(problem).k // vector) * vector


def _decline(problem: Problem, dtypes: Sequence[DType]) -> Decline | None:
    dtype = compute_dtype(problem)
    if dtype not in dtypes:
        return Decline(f"computes on {', '.join(map(str, dtypes))}, not on {dtype}")
    if declined := common_decline(problem, dtype, STORED):
        return declined
    shape, other = ProductShape.of(problem), problem.operands[1]
    if shape.transposed and not other.constant and shape.k % _vector(dtype):
        return Decline(f"a weight {other.type} that is not known ahead of time needs K in whole vectors")
    return None


def _gemv_supports(problem: Problem) -> Decline | None:
    if problem.kind != Linear.kind:
        return Decline("needs the second operand stored [N, K]")
    shape = ProductShape.of(problem)
    if shape.n > 65535:
        return Decline(f"{shape.n} columns exceed a launch grid")
    if problem.size(shape.m) > 64:
        return Decline(f"{problem.size(shape.m)} rows are better served in tiles")
    return _decline(problem, STORED)


def _mma_supports(problem: Problem) -> Decline | None:
    if not {"mma_sync", "cp_async"} <= problem.target.features:
        return Decline("the device has no mma.sync with cp.async (sm_80 and newer do)")
    return _decline(problem, HALVES)


def _simt_supports(problem: Problem) -> Decline | None:
    return _decline(problem, (DType.float32,))


def _memory_us(problem: Problem) -> float:
    shape, itemsize = ProductShape.of(problem), compute_dtype(problem).itemsize
    rows = problem.size(shape.m)
    moved = (shape.n * shape.k + rows * (shape.n + shape.k)) * itemsize
    return moved / (problem.target["memory_gbps"] * 1e3 * 0.8)


def _gemv_candidates(problem: Problem) -> list[Candidate]:
    """Rows of a block and splits of the depth; the estimate counts what the weights cost from L2."""
    shape = ProductShape.of(problem)
    rows, itemsize = problem.size(shape.m), compute_dtype(problem).itemsize
    found = []
    for taken in (1, 2, 4, 8):
        for splits in (1, 2, 4):
            if taken >= 2 * rows or splits * 32 * _vector(compute_dtype(problem)) > 2 * shape.k + 256:
                continue
            passes = -(-rows // taken)
            steps = -(-shape.k * itemsize // (512 * splits))
            blocks = shape.n * splits / 4 * passes
            waves = max(1.0, blocks / (problem.target["multiprocessors"] * 12))
            working = waves * (0.6 + steps * (0.06 + 0.02 * taken))
            time = LAUNCH_US + max(working, _memory_us(problem))
            found.append(Candidate(GemvConfig(taken, splits), time))
    return sorted(found, key=lambda candidate: candidate.estimate_us)[:MOST_CANDIDATES]


def _mma_candidates(problem: Problem) -> list[Candidate]:
    """Tiles that fit the device, by waves of blocks at the tensor cores' rate."""
    shape, target = ProductShape.of(problem), problem.target
    rows = problem.size(shape.m)
    found = []
    for tile in TILES:
        if tile.shared_bytes > target["shared_memory_per_block"]:
            continue
        blocks = -(-rows // tile.m) * -(-shape.n // tile.n)
        resident = max(
            1, min(target["shared_memory_per_multiprocessor"] // (tile.shared_bytes + 1024), 16 // tile.warps)
        )
        steps = -(-shape.k // tile.depth)
        rate = target["fp16_tflops"] * 1e6 * 0.5 / target["multiprocessors"]  # operations per us
        at_once = min(resident, -(-blocks // target["multiprocessors"]))
        step = max(0.25, 2.0 * tile.m * tile.n * tile.depth * at_once / rate)
        waves = -(-blocks // (target["multiprocessors"] * resident))
        time = LAUNCH_US + 1.0 + waves * (steps * step + 0.5)
        found.append(Candidate(tile, max(time, LAUNCH_US + _memory_us(problem))))
    return sorted(found, key=lambda candidate: candidate.estimate_us)[:MOST_CANDIDATES]


def _simt_candidates(problem: Problem) -> list[Candidate]:
    shape, target = ProductShape.of(problem), problem.target
    blocks = -(-problem.size(shape.m) // 64) * -(-shape.n // 64)
    waves = -(-blocks // (2 * target["multiprocessors"]))
    return [Candidate(SimtConfig(), LAUNCH_US + waves * -(-shape.k // 16) * 0.5 + _memory_us(problem))]


def packing(dtype: DType, packed_k: int) -> Callable[[np.ndarray], np.ndarray]:
    """From a weight ``[N, K]`` to ``[N, packed_k]`` of ``dtype``, zeros beyond K."""

    def pack(weight: np.ndarray) -> np.ndarray:
        packed = np.zeros((weight.shape[0], packed_k), dtype.numpy)
        packed[:, : weight.shape[1]] = weight.astype(dtype.numpy)
        return packed

    return pack


def _emit(name: str, problem: Problem, config: Any, header: str, launch: str, tile: str = "") -> KernelSource:
    source, other = problem.operands[:2]
    shape, dtype = ProductShape.of(problem), compute_dtype(problem)
    row_stride, stride = external_strides(source)
    element = str(problem.target["c_types"][dtype])
    text = TEMPLATES.kernel(
        "cuda/product.cu.jinja",
        name,
        problem,
        title=f"{problem.kind}: {shape.title}, {config}",
        header=header,
        launch=launch,
        tile=tile,
        element=element,
        dtype="half" if dtype is DType.float16 else dtype.value,
        source=source,
        other=_Other(f"reinterpret_cast<const {element}*>({other.name})" if other.constant else other.name),
        aligned=shape.k % _vector(dtype) == 0,
        dependent=problem.target["compute_capability"] >= 90,
        m=shape.m,
        n=shape.n,
        k=shape.k,
        packed_k=_packed_k(problem),
        row_stride=row_stride,
        stride=stride,
    )
    packings = {1: packing(dtype, _packed_k(problem))} if other.constant else {}
    headers = TEMPLATES.headers(f"cuda/{header}", "cuda/rows.cuh")
    return KernelSource(text, headers=headers, packings=packings)


@dataclass(frozen=True)
class _Other:
    """The second operand in the template: C text."""

    name: str


def _gemv_emit(name: str, problem: Problem, config: GemvConfig) -> KernelSource:
    # The kernel reads weights before its predecessor is over: only constants allow that.
    dependent = "dependent" if problem.operands[1].constant else "false"
    launch = f"launch_gemv<Shape, {config.rows}, {config.splits}, {dependent}>"
    return _emit(name, problem, config, "gemv.cuh", launch)


def _mma_emit(name: str, problem: Problem, config: TileConfig) -> KernelSource:
    transposed = str(ProductShape.of(problem).transposed).lower()
    constant = str(problem.operands[1].constant).lower()
    tile = ", ".join(
        map(
            str,
            (config.m, config.n, config.depth, config.warp_m, config.warp_n, config.splits, config.stages),
        )
    )
    launch = f"launch_gemm_mma<Shape, Tile, {transposed}, {constant}, dependent>"
    return _emit(name, problem, config, "gemm_mma.cuh", launch, tile)


def _simt_emit(name: str, problem: Problem, config: SimtConfig) -> KernelSource:
    transposed = str(ProductShape.of(problem).transposed).lower()
    return _emit(name, problem, config, "gemm_simt.cuh", f"launch_gemm_simt<Shape, {transposed}, dependent>")


def _kernel(kind: str, family: str, supports: Any, candidates: Any, emit: Any) -> Kernel:
    return Kernel(
        name=f"{kind.rpartition('.')[2]}_{family}",
        operator=kind,
        target="cuda",
        candidates=candidates,
        emit=emit,
        label=label,
        supports=supports,
        external_operands=frozenset({0}),
    )


KERNELS = [
    _kernel(Linear.kind, "gemv", _gemv_supports, _gemv_candidates, _gemv_emit),
    *(_kernel(kind, "mma", _mma_supports, _mma_candidates, _mma_emit) for kind in (Linear.kind, MatMul.kind)),
    *(
        _kernel(kind, "simt", _simt_supports, _simt_candidates, _simt_emit)
        for kind in (Linear.kind, MatMul.kind)
    ),
]
