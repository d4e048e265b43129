"""The per-channel affine operator that batch normalization is at inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fx2ait_core.sdk import IRError, Operator, PointwiseExpression, PointwiseOperator, TensorType


class Affine(PointwiseOperator):
    """``input * scale + shift``, one scale and shift per channel.

    Operands: input ``[N, C, …]``; scale and shift ``[C, 1, …]``, shaped so that they broadcast
    along dimension 1. Result: the input's type.
    """

    kind = "batch_norm.affine"
    operand_names = ("input", "scale", "shift")

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: Any) -> tuple[TensorType, ...]:
        source, scale, shift = operands
        if source.rank < 2:
            raise IRError(f"{cls.kind}: input {source} has no channel dimension")
        expected = (source.shape[1], *(1,) * (source.rank - 2))
        if scale.shape != expected or shift.shape != expected:
            raise IRError(f"{cls.kind}: scale {scale} and shift {shift} must have shape {expected}")
        return super().infer(operands, attributes)


EXPRESSIONS = [PointwiseExpression(Affine, "{0} * {1} + {2}")]

OPERATORS: list[type[Operator]] = [Affine]
