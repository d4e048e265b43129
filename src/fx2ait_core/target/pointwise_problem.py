"""What the pointwise kernels of all targets share: which problems are served, and how they are named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import Decline
from ..extend.problem import Problem
from ..ir.dtypes import DType
from ..ir.fused import ProgramAttributes
from ..ir.pointwise import PointwiseProgram
from .iteration import Space

COMPUTED = frozenset({DType.float32, DType.float16, DType.bfloat16})


@dataclass(frozen=True)
class PointwiseConfig:
    """How elements are shared out.

    :param vector: neighbours that a thread takes at once (cuda).
    :param tiled: turn operands through a tile in fast memory where their order in memory
        crosses the result's.
    """

    vector: int
    tiled: bool

    def __str__(self) -> str:
        return f"vector of {self.vector}, {'tiled' if self.tiled else 'direct'}"


def program_of(problem: Problem) -> PointwiseProgram:
    attributes: Any = problem.attributes
    assert isinstance(attributes, ProgramAttributes)
    return attributes.program


def is_copy(problem: Problem) -> bool:
    """Whether elements keep their bits: any element type will do."""
    source = problem.operands[0]
    return (
        program_of(problem).is_identity
        and len(problem.operands) == 1
        and not source.external
        and source.type.dtype == problem.result.dtype
    )


def decline(problem: Problem) -> Decline | None:
    """None, or why no pointwise kernel serves the problem."""
    if len(problem.operands) != program_of(problem).input_count:
        read = program_of(problem).input_count
        return Decline(f"the program reads {read} operands and {len(problem.operands)} are given")
    if not problem.epilogue.is_identity:
        return Decline("a pointwise program has no epilogue besides itself")
    if is_copy(problem):
        return None
    if problem.result.dtype not in COMPUTED:
        return Decline(f"programs are computed in float32 and not stored as {problem.result.dtype}")
    converts = program_of(problem).is_identity
    for operand in problem.operands:
        dtype = operand.type.dtype
        integral = converts and not dtype.is_floating and not operand.external
        if dtype not in COMPUTED and not integral:
            return Decline(f"operand {operand.name} is {dtype}; programs read floating point up to 32 bits")
    return None


def label(problem: Problem, config: PointwiseConfig) -> str:
    """E.g. ``add_relu_64x56x56``, ``convert_3x224x224``, ``copy_1000``."""
    kinds = [step.kind.split(".")[-1] for step in program_of(problem).steps]
    verb = "copy" if is_copy(problem) else "convert"
    sizes = [str(dim) for dim in problem.result.shape if isinstance(dim, int) and dim != 1]
    return "_".join([*(kinds[:4] or [verb]), "x".join(sizes)]).rstrip("_")


def bytes_moved(problem: Problem) -> int:
    """At the sizes that the kernel is chosen for."""
    types = [problem.result, *(operand.type for operand in problem.operands)]
    return sum(problem.size(type.byte_count) for type in types)


def title(problem: Problem) -> str:
    """The program and all types, for the head of the source."""
    return f"{program_of(problem)}: {', '.join(str(o.type) for o in problem.operands)} to {problem.result}"


def crossed_axis(
    problem: Problem, space: Space, extent: int, most: int
) -> tuple[int, tuple[int, ...]] | None:
    """The loop that some operands run along fastest where the result does not, and those operands.

    None unless both that loop and the innermost are at least ``extent`` long and at most ``most``
    operands take part; then going through a tile in fast memory does not pay.
    """
    if len(space.axes) < 2 or problem.size(space.inner.size) < extent:
        return None
    crossed = [i for i, stride in enumerate(space.inner.strides) if stride not in (0, 1)]
    if not crossed or len(crossed) > most:
        return None
    for position, axis in enumerate(space.axes[:-1]):
        unit = all(axis.strides[operand] == 1 for operand in crossed)
        if unit and problem.size(axis.size) >= extent:
            return position, tuple(crossed)
    return None
