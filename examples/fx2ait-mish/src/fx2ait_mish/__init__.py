"""Mish, fused into every kernel with an epilogue; channel shuffle is in ``channel_shuffle.py``."""

from fx2ait_core.sdk import Converter, PointwiseExpression, hookimpl, pointwise_operator

from . import channel_shuffle

Mish = pointwise_operator("mish.mish")


@hookimpl
def fx2ait_operators():
    return [Mish, channel_shuffle.ChannelShuffle]


@hookimpl
def fx2ait_expressions():
    return [PointwiseExpression(Mish, "{0} * fx::tanh(fx::log1p(fx::exp({0})))")]


@hookimpl
def fx2ait_converters():
    overloads = ["aten.mish.default", "aten.mish_.default"]
    mish = [Converter(overload, lambda call: call.emit(Mish, [call["self"]])) for overload in overloads]
    return [*mish, channel_shuffle.CONVERTER]


@hookimpl
def fx2ait_kernels():
    return channel_shuffle.KERNELS
