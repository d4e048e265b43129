"""From ATen's arithmetic to pointwise operators; in-place variants give the same new value.

A second operand is a tensor or a number. Tensors must have one floating-point dtype; a
constant of rank 0 (a wrapped number) takes the dtype of the other operand, as in PyTorch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from fx2ait_core.sdk import Call, Constant, Converter, Decline, Operator, Value

from . import arithmetic as ops

Number: TypeAlias = int | float
Operand: TypeAlias = Value | Number


def _unwrapped(value: object, other: object) -> object:
    """A constant of rank 0 beside a tensor as a number; anything else as it is."""
    if isinstance(value, Constant) and value.type.rank == 0 and isinstance(other, Value):
        return value.array.item()
    return value


def _operands(call: Call, left: str = "self", right: str = "other") -> tuple[Operand, Operand]:
    first, second = call[left], call[right]
    second = _unwrapped(second, first)
    return _unwrapped(first, second), second  # type: ignore[return-value]


def _supports_unary(call: Call) -> Decline | None:
    dtype = call["self"].type.dtype
    return None if dtype.is_floating else Decline(f"computed on floating point only, not on {dtype}")


def _binary_support(left: str, right: str) -> Callable[[Call], Decline | None]:
    def supports(call: Call) -> Decline | None:
        operands = _operands(call, left, right)
        scalars = [o for o in (*operands, call.arguments.get("alpha", 1)) if not isinstance(o, Value)]
        if any(not isinstance(scalar, Number) for scalar in scalars):
            return Decline("a number that is only known at run time is not taken")
        dtypes = {o.type.dtype for o in operands if isinstance(o, Value)}
        if len(dtypes) > 1:
            return Decline(f"dtypes must agree, not {' and '.join(sorted(map(str, dtypes)))}")
        (dtype,) = dtypes
        if not dtype.is_floating:
            return Decline(f"computed on floating point only, not on {dtype}")
        if call.arguments.get("rounding_mode") not in (None, "floor", "trunc"):
            return Decline(f"rounding_mode={call['rounding_mode']!r} is neither None, 'floor' nor 'trunc'")
        return None

    return supports


def _add(call: Call, left: Operand, right: Operand, factor: float) -> Value:
    """``left + factor * right``."""
    if not isinstance(right, Value):
        assert isinstance(left, Value)
        return call.emit(ops.AddScalar, [left], ops.Scalar(factor * right))
    if not isinstance(left, Value):
        if factor == -1:
            return call.emit(ops.ScalarSub, [right], ops.Scalar(float(left)))
        scaled = right if factor == 1 else call.emit(ops.MulScalar, [right], ops.Scalar(factor))
        return call.emit(ops.AddScalar, [scaled], ops.Scalar(float(left)))
    if factor == 1:
        return call.emit(ops.Add, [left, right])
    if factor == -1:
        return call.emit(ops.Sub, [left, right])
    return call.emit(ops.AddScaled, [left, right], ops.Alpha(factor))


def _convert_add(call: Call) -> Value:
    return _add(call, *_operands(call), factor=float(call["alpha"]))


def _convert_sub(call: Call) -> Value:
    return _add(call, *_operands(call), factor=-float(call["alpha"]))


def _convert_rsub(call: Call) -> Value:
    left, right = _operands(call)
    return _add(call, right, left, factor=-float(call["alpha"]))


def _convert_mul(call: Call) -> Value:
    left, right = _operands(call)
    if isinstance(left, Value) and isinstance(right, Value):
        return call.emit(ops.Mul, [left, right])
    value, number = (left, right) if isinstance(left, Value) else (right, left)
    assert isinstance(value, Value) and isinstance(number, Number)
    return call.emit(ops.MulScalar, [value], ops.Scalar(float(number)))


_DIVISIONS: dict[str | None, tuple[type[Operator], type[Operator]]] = {
    None: (ops.Div, ops.DivScalar),
    "floor": (ops.DivFloor, ops.DivFloorScalar),
    "trunc": (ops.DivTrunc, ops.DivTruncScalar),
}


def _convert_div(call: Call) -> Value:
    by_tensor, by_number = _DIVISIONS[call.arguments.get("rounding_mode")]
    left, right = _operands(call)
    if not isinstance(right, Value):
        assert isinstance(left, Value)
        return call.emit(by_number, [left], ops.Scalar(float(right)))
    if not isinstance(left, Value):
        left = call.constant(float(left), like=right)
    return call.emit(by_tensor, [left, right])


def _convert_power(call: Call, left: Operand, right: Operand) -> Value:
    if not isinstance(left, Value):
        assert isinstance(right, Value)
        return call.emit(ops.ScalarPow, [right], ops.Scalar(float(left)))
    if isinstance(right, Value):
        return call.emit(ops.Pow, [left, right])
    if right == 1:
        return left
    exact: dict[Number, type[Operator]] = {2: ops.Square, 0.5: ops.Sqrt, -1: ops.Reciprocal}
    if right in exact:
        return call.emit(exact[right], [left])
    return call.emit(ops.PowScalar, [left], ops.Scalar(float(right)))


def _convert_extremum(operator: type[Operator]) -> Callable[[Call], Value]:
    def convert(call: Call) -> Value:
        tensors = [
            operand if isinstance(operand, Value) else call.constant(float(operand), like=other)
            for operand, other in _both_ways(*_operands(call))
        ]
        return call.emit(operator, tensors)

    return convert


def _both_ways(left: Operand, right: Operand) -> list[tuple[Operand, Value]]:
    pairs = [(left, right), (right, left)]
    return [(operand, other if isinstance(other, Value) else operand) for operand, other in pairs]  # type: ignore[misc]


def _power(left: str, right: str) -> Callable[[Call], Value]:
    return lambda call: _convert_power(call, *_operands(call, left, right))


def _unary(operator: type[Operator]) -> Callable[[Call], Value]:
    return lambda call: call.emit(operator, [call["self"]])


def _both(
    name: str,
    overload: str,
    convert: Callable[[Call], Value],
    supports: Callable[[Call], Decline | None],
) -> list[Converter]:
    """The functional overload and the in-place one."""
    return [Converter(f"aten.{n}.{overload}", convert, supports) for n in (name, f"{name}_")]


_supports_binary = _binary_support("self", "other")
_supports_power = _binary_support("self", "exponent")

_UNARY: dict[str, type[Operator]] = {
    "exp": ops.Exp,
    "sqrt": ops.Sqrt,
    "neg": ops.Neg,
    "abs": ops.Abs,
    "reciprocal": ops.Reciprocal,
    "square": ops.Square,
}

ARITHMETIC_CONVERTERS = [
    *_both("add", "Tensor", _convert_add, _supports_binary),
    *_both("add", "Scalar", _convert_add, _supports_binary),
    *_both("sub", "Tensor", _convert_sub, _supports_binary),
    *_both("sub", "Scalar", _convert_sub, _supports_binary),
    *_both("mul", "Tensor", _convert_mul, _supports_binary),
    *_both("mul", "Scalar", _convert_mul, _supports_binary),
    *_both("div", "Tensor", _convert_div, _supports_binary),
    *_both("div", "Scalar", _convert_div, _supports_binary),
    *_both("div", "Tensor_mode", _convert_div, _supports_binary),
    *_both("div", "Scalar_mode", _convert_div, _supports_binary),
    *_both("pow", "Tensor_Scalar", _power("self", "exponent"), _supports_power),
    *_both("pow", "Tensor_Tensor", _power("self", "exponent"), _supports_power),
    Converter("aten.pow.Scalar", _power("self", "exponent"), _supports_power),
    Converter("aten.pow_.Scalar", _power("self", "exponent"), _supports_power),
    Converter("aten.pow_.Tensor", _power("self", "exponent"), _supports_power),
    Converter("aten.rsub.Tensor", _convert_rsub, _supports_binary),
    Converter("aten.rsub.Scalar", _convert_rsub, _supports_binary),
    Converter("aten.maximum.default", _convert_extremum(ops.Maximum), _supports_binary),
    Converter("aten.minimum.default", _convert_extremum(ops.Minimum), _supports_binary),
    *(
        converter
        for name, operator in _UNARY.items()
        for converter in _both(name, "default", _unary(operator), _supports_unary)
    ),
]
