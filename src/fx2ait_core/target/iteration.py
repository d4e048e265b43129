"""Iteration spaces of pointwise kernels: as few loops as the layouts of all tensors allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..extend.problem import OperandSpec, Problem
from ..ir.dims import Dim, c_expression, evaluate, simplify, symbol
from ..ir.layouts import channels_last, row_major
from ..ir.types import TensorType

Stride: TypeAlias = Dim | str
"""Elements between neighbours: known (maybe over dynamic symbols), or C text read at run time."""

View: TypeAlias = Literal["row_major", "channels_last", "strided"]
"""What is taken for granted about external operands; ``"strided"`` is nothing."""


@dataclass(frozen=True)
class Axis:
    """One loop: its size and, per operand, the distance in memory between two steps."""

    size: Dim
    strides: tuple[Stride, ...]


@dataclass(frozen=True)
class Space:
    """Loops from the slowest to the fastest in the result, which is dense in this order."""

    view: View
    axes: tuple[Axis, ...]

    @classmethod
    def of(cls, result: TensorType, operands: Sequence[OperandSpec], view: View = "strided") -> Space:
        """The space of all elements of ``result`` with ``operands`` broadcast to it.

        Neighbouring loops that all tensors run through as one are merged; loops of one step are
        dropped. External operands are taken as ``view`` says.
        """
        strides = [_strides(operand, result.rank, view) for operand in operands]
        axes: list[Axis] = []
        for axis in result.layout.order:
            if result.shape[axis] == 1:
                continue
            inner = Axis(result.shape[axis], tuple(s[axis] for s in strides))
            if axes and _continues(axes[-1], inner):
                inner = Axis(simplify(axes.pop().size * inner.size), inner.strides)
            axes.append(inner)
        return cls(view, tuple(axes) or (Axis(1, (0,) * len(operands)),))

    @property
    def inner(self) -> Axis:
        return self.axes[-1]

    @property
    def count(self) -> Dim:
        count: Dim = 1
        for axis in self.axes:
            count = simplify(count * axis.size)
        return count

    def result_strides(self) -> tuple[Dim, ...]:
        """Of the dense result, by loop."""
        strides: list[Dim] = []
        running: Dim = 1
        for axis in reversed(self.axes):
            strides.insert(0, running)
            running = simplify(running * axis.size)
        return tuple(strides)

    def is_dense(self, operand: int) -> bool:
        """Whether the operand lies in memory as the result does."""
        return tuple(axis.strides[operand] for axis in self.axes) == self.result_strides()

    def offset(self, operand: int, coordinates: Sequence[str], cast: str = "") -> str:
        """C text of the operand's element at ``coordinates`` (one name per loop)."""
        terms = []
        for axis, name in zip(self.axes, coordinates, strict=True):
            stride = axis.strides[operand]
            if stride == 0:
                continue
            factor = f"{cast}({name})" if cast else name
            terms.append(factor if stride == 1 else f"{factor} * {c_factor(stride)}")
        return " + ".join(terms) or "0"

    def result_offset(self, coordinates: Sequence[str]) -> str:
        """C text of the result's element at ``coordinates``."""
        pairs = zip(coordinates, self.result_strides(), strict=True)
        return " + ".join(name if stride == 1 else f"{name} * {c_factor(stride)}" for name, stride in pairs)

    def comment(self, problem: Problem) -> str:
        """For people: the loops, and what is known of external operands."""
        loops = f"Loops of {', '.join(c_expression(axis.size) for axis in self.axes)}."
        externals = [operand.name for operand in problem.operands if operand.external]
        if not externals:
            return loops
        kind = "of any strides" if self.view == "strided" else self.view.replace("_", "-")
        return f"{loops[:-1]}; {', '.join(externals)} {kind}."

    def vector(self, limit: int) -> int:
        """The most neighbours, a power of two up to ``limit``, that every thread can take at once.

        Vectors start at their own alignment in the result and in each operand with unit stride. A
        single loop may end in a shorter vector.
        """
        width = limit
        while width > 1 and not self._allows(width):
            width //= 2
        return width

    def _allows(self, width: int) -> bool:
        if len(self.axes) > 1 and not divisible(self.inner.size, width):
            return False
        contiguous = [index for index, stride in enumerate(self.inner.strides) if stride == 1]
        return all(
            not isinstance(stride, str) and divisible(stride, width)
            for axis in self.axes[:-1]
            for stride in (axis.strides[index] for index in contiguous)
        )


def inner_name(name: str) -> str:
    """What a dynamic symbol is called inside a kernel, apart from the kernel's own variables."""
    return f"size_{name}"


def inner_expression(dim: Dim) -> str:
    """C text of ``dim`` inside a kernel; the launcher has the symbols under their own names."""
    if isinstance(dim, int):
        return str(dim)
    return c_expression(dim.xreplace({s: symbol(inner_name(s.name)) for s in dim.free_symbols}))


def c_factor(dim: Stride) -> str:
    """C text inside a kernel that can stand in a product."""
    if isinstance(dim, int | str):
        return str(dim)
    return f"({inner_expression(dim)})"


def divisible(dim: Dim, divisor: int) -> bool:
    """Whether ``dim`` is surely a multiple, whatever sizes the dynamic symbols take."""
    if isinstance(dim, int):
        return dim % divisor == 0
    return all(c.is_Integer and int(c) % divisor == 0 for c in dim.as_coefficients_dict().values())


def largest(dim: Dim, problem: Problem) -> int:
    """``dim`` at the upper bounds of all dynamic symbols."""
    return evaluate(dim, {name: bounds.max for name, bounds in problem.symbols})


def external_views(problem: Problem) -> tuple[View, ...]:
    """The spaces worth code of their own, the general one last."""
    if not any(operand.external for operand in problem.operands):
        return ("strided",)
    if all(operand.type.rank < 3 for operand in problem.operands if operand.external):
        return ("row_major", "strided")
    return ("row_major", "channels_last", "strided")


def distinct_spaces(problem: Problem) -> list[Space]:
    """One space per view that makes a difference, the general one last."""
    spaces = [Space.of(problem.result, problem.operands, view) for view in external_views(problem)]
    return [s for i, s in enumerate(spaces) if all(s.axes != other.axes for other in spaces[i + 1 :])]


def view_condition(problem: Problem, view: View) -> str:
    """C text: whether all external operands are laid out as ``view`` says, at run time."""
    terms = []
    for operand in problem.operands:
        if not operand.external:
            continue
        strides = _viewed(operand.type, view).strides
        for axis, dim in enumerate(operand.type.shape):
            if dim != 1:
                terms.append(f"{operand.name}.strides[{axis}] == {c_expression(strides[axis])}")
        terms.append(f"reinterpret_cast<uintptr_t>({operand.name}.data) % 16 == 0")
    return " && ".join(terms)


def _viewed(type: TensorType, view: View) -> TensorType:
    return type.with_layout(channels_last(type.rank) if view == "channels_last" else row_major(type.rank))


def _strides(operand: OperandSpec, rank: int, view: View) -> tuple[Stride, ...]:
    """The operand's strides by logical dimension of a result of ``rank``; 0 where it is broadcast."""
    type = operand.type
    known: Sequence[Stride] = _viewed(type, view).strides if operand.external else type.strides
    if operand.external and view == "strided":
        known = [f"{operand.name}.strides[{axis}]" for axis in range(type.rank)]
    own = (0 if dim == 1 else stride for dim, stride in zip(type.shape, known, strict=True))
    return (*(0,) * (rank - type.rank), *own)


def _continues(outer: Axis, inner: Axis) -> bool:
    """Whether a step of ``outer`` is as far as all steps of ``inner``, in every operand."""
    return all(
        not isinstance(far, str) and not isinstance(near, str) and simplify(near * inner.size) == far
        for far, near in zip(outer.strides, inner.strides, strict=True)
    )
