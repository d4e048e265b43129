"""Arithmetic operators and their scalar expressions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fx2ait_core.sdk import Attributes, Operator, PointwiseExpression, pointwise_operator


@dataclass(frozen=True)
class Scalar(Attributes):
    """A number known ahead of time."""

    value: float


@dataclass(frozen=True)
class Alpha(Attributes):
    """The factor of the second operand."""

    alpha: float


# Python's floor of the exact quotient: a rounded quotient may already have reached the next integer.
_FLOOR_DIVIDE = (
    "({b} == 0.0f ? {a} / {b} : floorf(({a} - fmodf({a}, {b})) / {b} + 0.5f) - "
    "(fmodf({a}, {b}) != 0.0f && (fmodf({a}, {b}) < 0.0f) != ({b} < 0.0f) ? 1.0f : 0.0f))"
)
_TRUNCATE_DIVIDE = "truncf({a} / {b})"


def _division(operator: type[Operator], text: str, divisor: str) -> list[PointwiseExpression]:
    """``fx::`` has no rounding: CUDA declares C's functions, the compiler of the CPU has them built in."""
    everywhere = text.replace("{a}", "{0}").replace("{b}", divisor)
    on_cpu = re.sub(r"(floorf|fmodf|truncf)", r"__builtin_\1", everywhere)
    return [PointwiseExpression(operator, everywhere), PointwiseExpression(operator, on_cpu, "cpu")]


Add = pointwise_operator("elementwise.add", arity=2)
AddScaled = pointwise_operator("elementwise.add_scaled", arity=2, attributes=Alpha)
Sub = pointwise_operator("elementwise.sub", arity=2)
Mul = pointwise_operator("elementwise.mul", arity=2)
Div = pointwise_operator("elementwise.div", arity=2)
DivFloor = pointwise_operator("elementwise.div_floor", arity=2)
DivTrunc = pointwise_operator("elementwise.div_trunc", arity=2)
Maximum = pointwise_operator("elementwise.maximum", arity=2)
Minimum = pointwise_operator("elementwise.minimum", arity=2)
Pow = pointwise_operator("elementwise.pow", arity=2)
AddScalar = pointwise_operator("elementwise.add_scalar", attributes=Scalar)
MulScalar = pointwise_operator("elementwise.mul_scalar", attributes=Scalar)
DivScalar = pointwise_operator("elementwise.div_scalar", attributes=Scalar)
DivFloorScalar = pointwise_operator("elementwise.div_floor_scalar", attributes=Scalar)
DivTruncScalar = pointwise_operator("elementwise.div_trunc_scalar", attributes=Scalar)
PowScalar = pointwise_operator("elementwise.pow_scalar", attributes=Scalar)
ScalarSub = pointwise_operator("elementwise.scalar_sub", attributes=Scalar)
ScalarPow = pointwise_operator("elementwise.scalar_pow", attributes=Scalar)
Square = pointwise_operator("elementwise.square")
Reciprocal = pointwise_operator("elementwise.reciprocal")
Exp = pointwise_operator("elementwise.exp")
Sqrt = pointwise_operator("elementwise.sqrt")
Neg = pointwise_operator("elementwise.neg")
Abs = pointwise_operator("elementwise.abs")

EXPRESSIONS = [
    PointwiseExpression(Add, "{0} + {1}"),
    PointwiseExpression(AddScaled, "{0} + {alpha} * {1}"),
    PointwiseExpression(Sub, "{0} - {1}"),
    PointwiseExpression(Mul, "{0} * {1}"),
    PointwiseExpression(Div, "{0} / {1}"),
    *_division(DivFloor, _FLOOR_DIVIDE, "{1}"),
    *_division(DivTrunc, _TRUNCATE_DIVIDE, "{1}"),
    PointwiseExpression(Maximum, "fx::maximum({0}, {1})"),
    PointwiseExpression(Minimum, "fx::minimum({0}, {1})"),
    PointwiseExpression(Pow, "fx::pow({0}, {1})"),
    PointwiseExpression(AddScalar, "{0} + {value}"),
    PointwiseExpression(MulScalar, "{0} * {value}"),
    PointwiseExpression(DivScalar, "{0} / {value}"),
    *_division(DivFloorScalar, _FLOOR_DIVIDE, "{value}"),
    *_division(DivTruncScalar, _TRUNCATE_DIVIDE, "{value}"),
    PointwiseExpression(PowScalar, "fx::pow({0}, {value})"),
    PointwiseExpression(ScalarSub, "{value} - {0}"),
    PointwiseExpression(ScalarPow, "fx::pow({value}, {0})"),
    PointwiseExpression(Square, "{0} * {0}"),
    PointwiseExpression(Reciprocal, "1.0f / {0}"),
    PointwiseExpression(Exp, "fx::exp({0})"),
    PointwiseExpression(Sqrt, "fx::sqrt({0})"),
    PointwiseExpression(Neg, "-{0}"),
    PointwiseExpression(Abs, "fx::abs({0})"),
]

ARITHMETIC: list[type[Operator]] = list(dict.fromkeys(e.operator for e in EXPRESSIONS))
