"""A concatenation as copies of runs: what lies together in memory in an operand and in the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fx2ait_core.sdk import Decline, Dim, OperandSpec, Problem, element_count

from .operators import ConcatAttributes


@dataclass(frozen=True)
class Piece:
    """One operand: for each of ``outer`` steps, ``run`` elements that go to ``start`` in the result's row."""

    operand: OperandSpec
    run: Dim
    start: Dim


@dataclass(frozen=True)
class Runs:
    """``outer`` rows of the result, ``row`` elements each, made of the pieces' runs in order."""

    outer: Dim
    row: Dim
    pieces: tuple[Piece, ...]

    @classmethod
    def of(cls, problem: Problem) -> Runs:
        attributes: Any = problem.attributes
        assert isinstance(attributes, ConcatAttributes)
        order = problem.result.layout.order
        at = order.index(attributes.axis)
        start: Dim = 0
        pieces = []
        for operand in problem.operands:
            run = element_count(tuple(operand.type.shape[axis] for axis in order[at:]))
            pieces.append(Piece(operand, run, start))
            start = start + run
        outer = element_count(tuple(problem.result.shape[axis] for axis in order[:at]))
        return cls(outer, start, tuple(pieces))

    def divisible(self, elements: int) -> bool:
        """Whether all runs start and end at multiples of ``elements``, at every dynamic size."""
        return all(_divisible(dim, elements) for piece in self.pieces for dim in (piece.run, piece.start))


def _divisible(dim: Dim, divisor: int) -> bool:
    if isinstance(dim, int):
        return dim % divisor == 0
    return all(c.is_Integer and int(c) % divisor == 0 for c in dim.as_coefficients_dict().values())


def decline(problem: Problem, most: int) -> Decline | None:
    """None, or why no kernel serves the concatenation; ``most`` operands at a time."""
    if len(problem.operands) > most:
        return Decline(f"{len(problem.operands)} operands; at most {most} are taken at once")
    if not problem.epilogue.is_identity:
        return Decline("a concatenation has no epilogue")
    for operand in problem.operands:
        if operand.type.layout != problem.result.layout:
            return Decline(
                f"operand {operand.name} {operand.type} and result {problem.result} differ in layout"
            )
        if operand.type.dtype != problem.result.dtype:
            return Decline(
                f"operand {operand.name} {operand.type} and result {problem.result} differ in dtype"
            )
        if operand.external:
            return Decline(f"operand {operand.name} is external; its strides are known only at run time")
    return None


def label(problem: Problem, config: Any) -> str:
    """E.g. ``concat_3_at_1_256x14x14``: operands, axis, the result's static sizes."""
    attributes: Any = problem.attributes
    sizes = "x".join(str(dim) for dim in problem.result.shape if isinstance(dim, int))
    return f"concat_{len(problem.operands)}_at_{attributes.axis}_{sizes}".rstrip("_")
