"""What the matrix product kernels of all targets share: sizes, and which problems are served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fx2ait_core.sdk import Decline, Dim, DType, OperandSpec, Problem, epilogue_access

from .operators import Linear, MatMul


@dataclass(frozen=True)
class ProductShape:
    """``[m, k]`` times ``[k, n]``; only ``m`` may be dynamic.

    ``transposed``: the second operand is stored ``[n, k]``, as a linear layer's weight.
    """

    m: Dim
    n: int
    k: int
    transposed: bool

    @classmethod
    def of(cls, problem: Problem) -> ProductShape:
        source, other = (operand.type for operand in problem.operands[:2])
        transposed = problem.kind == Linear.kind
        n, k = other.shape if transposed else reversed(other.shape)
        m = source.shape[0] if source.rank == 2 else 1
        return cls(m, n, k, transposed)

    @property
    def title(self) -> str:
        return f"[{self.m}, {self.k}] times [{self.k}, {self.n}]"


def common_decline(problem: Problem, computed: DType, stored: Sequence[DType]) -> Decline | None:
    """None, or why no kernel that computes on ``computed`` and stores ``stored`` serves the problem."""
    source, other = problem.operands[:2]
    if len(problem.operands) > 2:
        return Decline("the bias is expected in the epilogue")
    if source.type.rank not in (1, 2) or other.type.rank != 2:
        return Decline(f"input {source.type} must be [M, K] or [K], the other one a matrix, not {other.type}")
    if not all(isinstance(dim, int) for dim in (*other.type.shape, source.type.shape[-1])):
        return Decline(f"only the rows of {source.type} may be dynamic in a product with {other.type}")
    for operand in (source, other):
        if not (operand.constant or operand.external) and operand.type.dtype != computed:
            return Decline(f"operand {operand.name} is {operand.type.dtype}, computed is {computed}")
        if not (operand.constant or operand.external or operand.type.layout.is_row_major):
            return Decline(f"operand {operand.name} {operand.type} must be row_major")
    if source.constant:
        return Decline("the first operand must not be a constant")
    if other.constant and problem.kind == MatMul.kind:
        return Decline("a product with a constant is a linear layer")
    if other.external:
        return Decline(f"operand {other.name} must not be external")
    if not problem.result.layout.is_row_major:
        return Decline(f"result {problem.result} must be row_major")
    if problem.result.dtype not in stored:
        return Decline(f"result {problem.result} must be of {', '.join(map(str, stored))}")
    for operand in problem.epilogue_operands:
        try:
            epilogue_access(operand, problem.result)
        except ValueError as error:
            return Decline(f"epilogue operand {operand.name}: {error}")
    return None


def external_strides(source: OperandSpec) -> tuple[str, str]:
    """C texts: elements from row to row, and from element to element, of an external first operand."""
    if source.type.rank == 1:
        return "0", f"{source.name}.strides[0]"
    return f"{source.name}.strides[0]", f"{source.name}.strides[1]"


def label(problem: Problem, config: Any) -> str:
    """E.g. ``linear_512x1000``: K by N."""
    shape = ProductShape.of(problem)
    return f"{problem.kind.split('.')[-1]}_{shape.k}x{shape.n}"
