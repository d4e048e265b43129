"""Activations and their scalar expressions.

Each is written once in C over float32 and so is fused into every kernel with an epilogue, on
every target. NaN goes through all of them, as in PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass

from fx2ait_core.sdk import Attributes, Operator, PointwiseExpression, pointwise_operator


@dataclass(frozen=True)
class Limits(Attributes):
    """The result lies within ``min`` and ``max``; ``max`` wins where they cross."""

    min: float
    max: float


@dataclass(frozen=True)
class LowerLimit(Attributes):
    min: float


@dataclass(frozen=True)
class UpperLimit(Attributes):
    max: float


@dataclass(frozen=True)
class LeakyReluAttributes(Attributes):
    negative_slope: float


@dataclass(frozen=True)
class EluAttributes(Attributes):
    """``positive * x`` above zero, ``negative * (exp(x * input_scale) - 1)`` elsewhere."""

    positive: float
    negative: float
    input_scale: float


Relu = pointwise_operator("activation.relu")
Clamp = pointwise_operator("activation.clamp", attributes=Limits)
ClampMin = pointwise_operator("activation.clamp_min", attributes=LowerLimit)
ClampMax = pointwise_operator("activation.clamp_max", attributes=UpperLimit)
ClampMinTensor = pointwise_operator("activation.clamp_min_tensor", arity=2)
ClampMaxTensor = pointwise_operator("activation.clamp_max_tensor", arity=2)
LeakyRelu = pointwise_operator("activation.leaky_relu", attributes=LeakyReluAttributes)
Elu = pointwise_operator("activation.elu", attributes=EluAttributes)
Sigmoid = pointwise_operator("activation.sigmoid")
Tanh = pointwise_operator("activation.tanh")
Silu = pointwise_operator("activation.silu")
Hardsigmoid = pointwise_operator("activation.hardsigmoid")
Hardswish = pointwise_operator("activation.hardswish")
Gelu = pointwise_operator("activation.gelu")
GeluTanh = pointwise_operator("activation.gelu_tanh")

_HARD_SIGMOID_TIMES_6 = "fx::minimum(fx::maximum({0} + 3.0f, 0.0f), 6.0f)"
_GELU_TANH_ARGUMENT = "0.7978845608f * ({0} + 0.044715f * {0} * {0} * {0})"

EXPRESSIONS = [
    PointwiseExpression(Relu, "fx::maximum({0}, 0.0f)"),
    PointwiseExpression(Clamp, "fx::minimum(fx::maximum({0}, {min}), {max})"),
    PointwiseExpression(ClampMin, "fx::maximum({0}, {min})"),
    PointwiseExpression(ClampMax, "fx::minimum({0}, {max})"),
    PointwiseExpression(ClampMinTensor, "fx::maximum({0}, {1})"),
    PointwiseExpression(ClampMaxTensor, "fx::minimum({0}, {1})"),
    PointwiseExpression(LeakyRelu, "({0} > 0.0f ? {0} : {negative_slope} * {0})"),
    PointwiseExpression(
        Elu, "({0} > 0.0f ? {positive} * {0} : {negative} * (fx::exp({input_scale} * {0}) - 1.0f))"
    ),
    PointwiseExpression(Sigmoid, "fx::sigmoid({0})"),
    PointwiseExpression(Tanh, "fx::tanh({0})"),
    PointwiseExpression(Silu, "{0} * fx::sigmoid({0})"),
    PointwiseExpression(Hardsigmoid, f"{_HARD_SIGMOID_TIMES_6} * 0.1666666667f"),
    PointwiseExpression(Hardswish, f"{{0}} * {_HARD_SIGMOID_TIMES_6} * 0.1666666667f"),
    PointwiseExpression(Gelu, "0.5f * {0} * (1.0f + fx::erf(0.7071067812f * {0}))"),
    PointwiseExpression(GeluTanh, f"0.5f * {{0}} * (1.0f + fx::tanh({_GELU_TANH_ARGUMENT}))"),
]

OPERATORS: list[type[Operator]] = [expression.operator for expression in EXPRESSIONS]
