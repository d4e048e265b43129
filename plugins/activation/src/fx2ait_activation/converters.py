"""From ATen's activations to pointwise operators; in-place variants give the same new value."""

from __future__ import annotations

from collections.abc import Callable

from fx2ait_core.sdk import NO_ATTRIBUTES, Attributes, Call, Converter, Decline, Operator, Value

from .operators import (
    Clamp,
    ClampMax,
    ClampMaxTensor,
    ClampMin,
    ClampMinTensor,
    Elu,
    EluAttributes,
    Gelu,
    GeluTanh,
    Hardsigmoid,
    Hardswish,
    LeakyRelu,
    LeakyReluAttributes,
    Limits,
    LowerLimit,
    Relu,
    Sigmoid,
    Silu,
    Tanh,
    UpperLimit,
)


def _supports(call: Call) -> Decline | None:
    dtype = call["self"].type.dtype
    if not dtype.is_floating:
        return Decline(f"activations are computed on floating point, not on {dtype}")
    if symbolic := [name for name, value in call.arguments.items() if _is_symbolic(value)]:
        return Decline(f"{', '.join(symbolic)} must be a number known ahead of time")
    return None


def _is_symbolic(value: object) -> bool:
    return value is not None and not isinstance(value, (Value, int, float, str))


def _supports_tensor_limits(call: Call) -> Decline | None:
    for name in ("min", "max"):
        limit = call.arguments.get(name)
        if limit is not None and limit.type.dtype != call["self"].type.dtype:
            return Decline(f"{name} is {limit.type.dtype}, self {call['self'].type.dtype}; dtypes must agree")
    return _supports(call)


def _convert_clamp_tensor(call: Call) -> Value:
    value: Value = call["self"]
    for name, operator in (("min", ClampMinTensor), ("max", ClampMaxTensor)):
        if (limit := call.arguments.get(name)) is not None:
            value = call.emit(operator, [value, limit])
    return value


def _supports_gelu(call: Call) -> Decline | None:
    if call["approximate"] not in ("none", "tanh"):
        return Decline(f"gelu knows approximate='none' and 'tanh', not {call['approximate']!r}")
    return _supports(call)


def _convert_gelu(call: Call) -> Value:
    return call.emit(GeluTanh if call["approximate"] == "tanh" else Gelu, [call["self"]])


def _clamp(call: Call, low: float | None, high: float | None) -> Value:
    if low is not None and high is not None:
        return call.emit(Clamp, [call["self"]], Limits(float(low), float(high)))
    if low is not None:
        return call.emit(ClampMin, [call["self"]], LowerLimit(float(low)))
    if high is not None:
        return call.emit(ClampMax, [call["self"]], UpperLimit(float(high)))
    return call["self"]


def _unary(
    operator: type[Operator], attributes: Callable[[Call], Attributes] = lambda call: NO_ATTRIBUTES
) -> Callable[[Call], Value]:
    return lambda call: call.emit(operator, [call["self"]], attributes(call))


def _leaky_relu(call: Call) -> Attributes:
    return LeakyReluAttributes(float(call["negative_slope"]))


def _elu(call: Call) -> Attributes:
    scale = float(call["scale"])
    return EluAttributes(scale, float(call["alpha"]) * scale, float(call["input_scale"]))


SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def _celu(call: Call) -> Attributes:
    alpha = float(call["alpha"])
    return EluAttributes(1.0, alpha, 1.0 / alpha)


def _supports_celu(call: Call) -> Decline | None:
    return Decline("celu divides by alpha, which is 0") if call["alpha"] == 0 else _supports(call)


def _converters(
    names: str,
    convert: Callable[[Call], Value],
    supports: Callable[[Call], Decline | None] = _supports,
    overload: str = "default",
) -> list[Converter]:
    """Functional and in-place overload under all of PyTorch's names for one operation."""
    return [
        Converter(f"aten.{name}{suffix}.{overload}", convert, supports)
        for name in names.split()
        for suffix in ("", "_")
    ]


CONVERTERS = [
    *_converters("relu", _unary(Relu)),
    *_converters("relu6", lambda call: _clamp(call, 0.0, 6.0)),
    *_converters("hardtanh", lambda call: _clamp(call, call["min_val"], call["max_val"])),
    *_converters("clamp clip", lambda call: _clamp(call, call["min"], call["max"])),
    *_converters("clamp_min", lambda call: _clamp(call, call["min"], None)),
    *_converters("clamp_max", lambda call: _clamp(call, None, call["max"])),
    *_converters("clamp clip clamp_min clamp_max", _convert_clamp_tensor, _supports_tensor_limits, "Tensor"),
    *_converters("leaky_relu", _unary(LeakyRelu, _leaky_relu)),
    *_converters("elu", _unary(Elu, _elu)),
    *_converters("selu", _unary(Elu, lambda call: EluAttributes(SELU_SCALE, SELU_SCALE * SELU_ALPHA, 1.0))),
    *_converters("celu", _unary(Elu, _celu), _supports_celu),
    *_converters("sigmoid", _unary(Sigmoid)),
    Converter("aten.special_expit.default", _unary(Sigmoid), _supports),
    *_converters("tanh", _unary(Tanh)),
    *_converters("silu", _unary(Silu)),
    *_converters("hardsigmoid", _unary(Hardsigmoid)),
    *_converters("hardswish", _unary(Hardswish)),
    *_converters("gelu", _convert_gelu, _supports_gelu),
]
