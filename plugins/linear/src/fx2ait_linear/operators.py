"""Linear layers and matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fx2ait_core.sdk import (
    AffineChannels,
    Attributes,
    Dim,
    Epilogue,
    IRError,
    Layout,
    Operator,
    PointwiseExpression,
    RowMajor,
    Shape,
    TensorType,
    View,
    element_count,
    pointwise_operator,
    tensor_type,
)


class Linear(Operator):
    """``input @ weight.T + bias``.

    Operands: input ``[M, K]`` or ``[K]``, weight ``[N, K]``, optionally bias ``[N]``.
    Result: ``[M, N]`` or ``[N]`` in the input's dtype, row-major. Further leading dimensions are
    merged into M by the converter: the channel that the traits speak of is the last dimension
    only below rank 3.
    """

    kind = "linear.linear"
    operand_names = ("input", "weight", "bias")
    traits = (AffineChannels(), Epilogue(), RowMajor())

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: Attributes) -> tuple[TensorType, ...]:
        if len(operands) not in (2, 3):
            raise IRError(
                f"{cls.kind} takes an input, a weight and perhaps a bias, not {len(operands)} operands"
            )
        source, weight = operands[:2]
        if source.rank not in (1, 2) or weight.rank != 2 or source.shape[-1] != weight.shape[1]:
            raise IRError(f"{cls.kind}: input {source} must be [M, K] or [K], and weight {weight} [N, K]")
        if len(operands) == 3 and operands[2].shape != (weight.shape[0],):
            raise IRError(f"{cls.kind}: bias {operands[2]} must have shape ({weight.shape[0]},)")
        return (tensor_type((*source.shape[:-1], weight.shape[0]), source.dtype),)

    @classmethod
    def flops(
        cls, operands: Sequence[TensorType], results: Sequence[TensorType], attributes: Attributes
    ) -> Dim:
        return _product_flops(operands[0], cls.infer(operands, attributes)[0])


class MatMul(Operator):
    """The product of two computed matrices: input ``[M, K]``, other ``[K, N]``, result ``[M, N]``."""

    kind = "linear.matmul"
    operand_names = ("input", "other")
    traits = (Epilogue(), RowMajor())

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: Attributes) -> tuple[TensorType, ...]:
        if len(operands) != 2:
            raise IRError(f"{cls.kind} takes 2 operands, not {len(operands)}")
        source, other = operands
        if source.rank != 2 or other.rank != 2 or source.shape[1] != other.shape[0]:
            raise IRError(f"{cls.kind}: input {source} must be [M, K] and other {other} [K, N]")
        return (tensor_type((source.shape[0], other.shape[1]), source.dtype),)

    @classmethod
    def flops(
        cls, operands: Sequence[TensorType], results: Sequence[TensorType], attributes: Attributes
    ) -> Dim:
        return _product_flops(operands[0], cls.infer(operands, attributes)[0])


def _product_flops(source: TensorType, result: TensorType) -> Dim:
    """2 for each result element and element of the row of ``source`` that it sums over."""
    return 2 * result.element_count * source.shape[-1]


@dataclass(frozen=True)
class RowsAttributes(Attributes):
    """The shape of the result."""

    shape: Shape


class Rows(Operator):
    """A row-major tensor seen under another shape: leading dimensions merged, or split again."""

    kind = "linear.rows"
    traits = (View(requires_row_major=True),)

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: RowsAttributes) -> tuple[TensorType, ...]:
        (source,) = operands
        result = tensor_type(attributes.shape, source.dtype)
        if element_count(source.shape) != element_count(result.shape):
            raise IRError(f"{cls.kind}: {source} cannot be seen as {result}")
        return (result,)


class Transpose(Operator):
    """A matrix ``[N, K]`` seen as ``[K, N]``; memory stays as it is."""

    kind = "linear.transpose"
    traits = (View(),)

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: Attributes) -> tuple[TensorType, ...]:
        (source,) = operands
        if source.rank != 2:
            raise IRError(f"{cls.kind}: {source} is not a matrix")
        return (tensor_type(source.shape[::-1], source.dtype),)

    @classmethod
    def result_layouts(cls, operands: Sequence[TensorType], attributes: Attributes) -> Layout:
        return operands[0].layout.permuted((1, 0))


@dataclass(frozen=True)
class SumAttributes(Attributes):
    """Factors of the product and of what is added to it."""

    alpha: float
    beta: float


AddBias = pointwise_operator("linear.add_bias", arity=2)
WeightedSum = pointwise_operator("linear.weighted_sum", arity=2, attributes=SumAttributes)

EXPRESSIONS = [
    PointwiseExpression(AddBias, "{0} + {1}"),
    PointwiseExpression(WeightedSum, "{alpha} * {0} + {beta} * {1}"),
]

OPERATORS: list[type[Operator]] = [Linear, MatMul, Rows, Transpose, AddBias, WeightedSum]
