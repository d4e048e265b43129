"""Matrix products for ``cpu``: float32, weights packed into panels of columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fx2ait_core.sdk import Candidate, Decline, DType, Kernel, KernelSource, Problem, Templates

from .operators import Linear, MatMul
from .product_shape import ProductShape, common_decline, external_strides, label

TEMPLATES = Templates(__package__ or "fx2ait_linear")
STORED = (DType.float32, DType.float16, DType.bfloat16)
BYTES_PER_US = 1e4
OPERATIONS_PER_LANE_US = 5e3


@dataclass(frozen=True)
class PanelConfig:
    """``panel``: columns side by side, a few registers of floats."""

    panel: int

    def __str__(self) -> str:
        return f"panels of {self.panel} columns"


def _supports(problem: Problem) -> Decline | None:
    if declined := common_decline(problem, DType.float32, STORED):
        return declined
    if problem.kind == Linear.kind and not problem.operands[1].constant:
        return Decline("the weight must be known ahead of time, to be packed")
    return None


def _candidates(problem: Problem) -> list[Candidate]:
    shape = ProductShape.of(problem)
    lanes, threads = problem.target["vector_bytes"] // 4, problem.target["threads"]
    rows = problem.size(shape.m)
    reading = shape.n * shape.k * 4 / BYTES_PER_US
    computing = 2.0 * rows * shape.n * shape.k / (OPERATIONS_PER_LANE_US * lanes * threads)
    return [Candidate(PanelConfig(2 * lanes), max(reading, computing))]


def packing(panel: int) -> Callable[[np.ndarray], np.ndarray]:
    """From a weight ``[N, K]`` to ``[ceil(N / panel), K, panel]``, zeros beyond N."""

    def pack(weight: np.ndarray) -> np.ndarray:
        n, k = weight.shape
        panels = -(-n // panel)
        padded = np.zeros((panels * panel, k), np.float32)
        padded[:n] = weight
        return np.ascontiguousarray(padded.reshape(panels, panel, k).transpose(0, 2, 1))

    return pack


def _emit(name: str, problem: Problem, config: PanelConfig) -> KernelSource:
    source, other = problem.operands[:2]
    shape = ProductShape.of(problem)
    row_stride, stride = external_strides(source)
    named = {symbol.name for symbol in getattr(shape.m, "free_symbols", ())}
    text = TEMPLATES.kernel(
        "cpu/gemm.cpp.jinja",
        name,
        problem,
        title=f"{problem.kind}: {shape.title}",
        source=source,
        other=other,
        columns="PackedColumns<kPanel>" if shape.transposed else "PlainColumns<kPanel, kN>",
        panel=config.panel,
        m=shape.m,
        n=shape.n,
        k=shape.k,
        row_stride=row_stride,
        stride=stride,
        unit_stride=f"{stride} == 1",
        discarded=["workspace", *(symbol for symbol, _ in problem.symbols if symbol not in named)],
    )
    packings = {1: packing(config.panel)} if shape.transposed else {}
    return KernelSource(text, headers=TEMPLATES.headers("cpu/gemm.h"), packings=packings)


KERNELS = [
    Kernel(
        name=f"{kind.split('.')[-1]}_cpu",
        operator=kind,
        target="cpu",
        candidates=_candidates,
        emit=_emit,
        label=label,
        supports=_supports,
        external_operands=frozenset({0}),
    )
    for kind in (Linear.kind, MatMul.kind)
]
