"""Shape operators: views, and concatenation. Arithmetic is in ``arithmetic.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fx2ait_core.sdk import (
    Attributes,
    Dim,
    IRError,
    Layout,
    Operator,
    PointwiseExpression,
    PointwiseOperator,
    Shape,
    TensorType,
    View,
    channels_last,
    element_count,
    row_major,
    tensor_type,
)


@dataclass(frozen=True)
class ReshapeAttributes(Attributes):
    """``shape``: the result's shape, without -1."""

    shape: Shape


@dataclass(frozen=True)
class PermuteAttributes(Attributes):
    """Result dimension ``i`` is the operand's dimension ``permutation[i]``."""

    permutation: tuple[int, ...]


@dataclass(frozen=True)
class UnsqueezeAttributes(Attributes):
    """``axis``: where the result has its new dimension of size 1."""

    axis: int


@dataclass(frozen=True)
class SqueezeAttributes(Attributes):
    """``axes``: dimensions of size 1 to drop, ascending."""

    axes: tuple[int, ...]


@dataclass(frozen=True)
class ConcatAttributes(Attributes):
    """``axis``: the dimension along which the operands lie one after the other."""

    axis: int


class Reshape(Operator):
    """A row-major tensor seen under another shape with as many elements."""

    kind = "elementwise.reshape"
    traits = (View(requires_row_major=True),)

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: ReshapeAttributes) -> tuple[TensorType, ...]:
        (source,) = operands
        result = tensor_type(attributes.shape, source.dtype)
        if element_count(source.shape) != element_count(result.shape):
            raise IRError(
                f"{cls.kind}: {source} has another number of elements than shape {attributes.shape}"
            )
        return (result,)


class Permute(Operator):
    """Dimensions in another order; memory stays as it is."""

    kind = "elementwise.permute"
    traits = (View(),)

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: PermuteAttributes) -> tuple[TensorType, ...]:
        (source,) = operands
        if sorted(attributes.permutation) != list(range(source.rank)):
            raise IRError(f"{cls.kind}: {attributes.permutation} does not permute the dimensions of {source}")
        return (tensor_type(tuple(source.shape[axis] for axis in attributes.permutation), source.dtype),)

    @classmethod
    def result_layouts(cls, operands: Sequence[TensorType], attributes: PermuteAttributes) -> Layout:
        moved = operands[0].layout.permuted(attributes.permutation)
        return _preferred(moved, tuple(operands[0].shape[axis] for axis in attributes.permutation))


class Unsqueeze(Operator):
    """A new dimension of size 1."""

    kind = "elementwise.unsqueeze"
    traits = (View(),)

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: UnsqueezeAttributes) -> tuple[TensorType, ...]:
        (source,) = operands
        if not 0 <= attributes.axis <= source.rank:
            raise IRError(f"{cls.kind}: axis {attributes.axis} is not within 0..{source.rank}")
        shape = source.shape
        return (tensor_type((*shape[: attributes.axis], 1, *shape[attributes.axis :]), source.dtype),)

    @classmethod
    def result_layouts(cls, operands: Sequence[TensorType], attributes: UnsqueezeAttributes) -> Layout:
        order = [axis + (axis >= attributes.axis) for axis in operands[0].layout.order]
        shape = cls.infer(operands, attributes)[0].shape
        return _preferred(Layout((attributes.axis, *order)), shape)


class Squeeze(Operator):
    """Without some dimensions of size 1."""

    kind = "elementwise.squeeze"
    traits = (View(),)

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: SqueezeAttributes) -> tuple[TensorType, ...]:
        (source,) = operands
        axes = attributes.axes
        if list(axes) != sorted(set(axes)) or any(
            not 0 <= a < source.rank or source.shape[a] != 1 for a in axes
        ):
            raise IRError(f"{cls.kind}: axes {axes} must be ascending dimensions of size 1 of {source}")
        return (tensor_type(tuple(d for a, d in enumerate(source.shape) if a not in axes), source.dtype),)

    @classmethod
    def result_layouts(cls, operands: Sequence[TensorType], attributes: SqueezeAttributes) -> Layout:
        kept = [axis for axis in range(operands[0].rank) if axis not in attributes.axes]
        order = tuple(kept.index(axis) for axis in operands[0].layout.order if axis in kept)
        return _preferred(Layout(order), tuple(operands[0].shape[axis] for axis in kept))


@dataclass(frozen=True)
class ExpandAttributes(Attributes):
    """``shape``: the result's shape, to which the operand broadcasts."""

    shape: Shape


class Expand(PointwiseOperator):
    """The operand repeated along dimensions of size 1 and along new leading ones.

    A pointwise operator, so that readers which are pointwise themselves broadcast the operand and
    the repeated tensor is never stored.
    """

    kind = "elementwise.expand"

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: ExpandAttributes) -> tuple[TensorType, ...]:
        (source,) = operands
        result = tensor_type(attributes.shape, source.dtype)
        repeated = zip(reversed(source.shape), reversed(result.shape), strict=False)
        if source.rank > result.rank or any(dim not in (1, wanted) for dim, wanted in repeated):
            raise IRError(f"{cls.kind}: {source} does not broadcast to shape {attributes.shape}")
        return (result,)


class Concat(Operator):
    """Operands one after the other along an axis; all share one layout, and so does the result."""

    kind = "elementwise.concat"
    operand_names = ("input",)
    traits = ()

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: ConcatAttributes) -> tuple[TensorType, ...]:
        if not operands:
            raise IRError(f"{cls.kind}: at least one operand is needed")
        first, axis = operands[0], attributes.axis
        if not 0 <= axis < first.rank:
            raise IRError(f"{cls.kind}: axis {axis} is not a dimension of {first}")
        for operand in operands:
            if _without(operand.shape, axis) != _without(first.shape, axis) or operand.dtype != first.dtype:
                raise IRError(f"{cls.kind}: {operand} and {first} differ in more than dimension {axis}")
        total: Dim = sum((operand.shape[axis] for operand in operands[1:]), first.shape[axis])
        return (tensor_type((*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype),)


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


def _preferred(layout: Layout, shape: Shape) -> Layout:
    """Row-major or channels-last where that is the same memory as ``layout``.

    A dimension of size 1 may stand anywhere in the order.
    """

    def essential(candidate: Layout) -> list[int]:
        return [axis for axis in candidate.order if shape[axis] != 1]

    named = (row_major(layout.rank), channels_last(layout.rank))
    return next((candidate for candidate in named if essential(candidate) == essential(layout)), layout)


OPERATORS: list[type[Operator]] = [Reshape, Permute, Unsqueeze, Squeeze, Expand, Concat]

EXPRESSIONS = [PointwiseExpression(Expand, "{0}")]
