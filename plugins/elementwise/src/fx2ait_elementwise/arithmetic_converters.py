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
    return _divided(call, call.arguments.get("rounding_mode"))


def _divided(call: Call, rounding_mode: str | None) -> Value:
    by_tensor, by_number = _DIVISIONS[rounding_mode]
    left, right = _operands(call)
    if not isinstance(right, Value):
        assert isinstance(left, Value)
        return call.emit(by_number, [left], ops.Scalar(float(right)))
    if not isinstance(left, Value):
        left = call.constant(float(left), like=right)
    return call.emit(by_tensor, [left, right])


def _convert_floor_divide(call: Call) -> Value:
    return _divided(call, "floor")


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
    names: str,
    overloads: str,
    convert: Callable[[Call], Value],
    supports: Callable[[Call], Decline | None],
) -> list[Converter]:
    """Functional and in-place overloads under all of PyTorch's names for one operation."""
    return [
        Converter(f"aten.{name}{suffix}.{overload}", convert, supports)
        for name in names.split()
        for suffix in ("", "_")
        for overload in overloads.split()
    ]


_supports_binary = _binary_support("self", "other")
_supports_power = _binary_support("self", "exponent")

_UNARY: dict[str, type[Operator]] = {
    "exp": ops.Exp,
    "sqrt": ops.Sqrt,
    "neg negative": ops.Neg,
    "abs absolute": ops.Abs,
    "reciprocal": ops.Reciprocal,
    "square": ops.Square,
}

ARITHMETIC_CONVERTERS = [
    *_both("add", "Tensor Scalar", _convert_add, _supports_binary),
    *_both("sub subtract", "Tensor Scalar", _convert_sub, _supports_binary),
    *_both("mul multiply", "Tensor Scalar", _convert_mul, _supports_binary),
    *_both("div divide", "Tensor Scalar Tensor_mode Scalar_mode", _convert_div, _supports_binary),
    *_both("true_divide", "Tensor Scalar", _convert_div, _supports_binary),
    *(
        Converter(f"aten.{name}", _convert_floor_divide, _supports_binary)
        for name in (
            "floor_divide.default",
            "floor_divide.Scalar",
            "floor_divide_.Tensor",
            "floor_divide_.Scalar",
        )
    ),
    *(
        Converter(f"aten.{name}", _power("self", "exponent"), _supports_power)
        for name in ("pow.Tensor_Scalar", "pow.Tensor_Tensor", "pow.Scalar", "pow_.Scalar", "pow_.Tensor")
    ),
    Converter("aten.rsub.Tensor", _convert_rsub, _supports_binary),
    Converter("aten.rsub.Scalar", _convert_rsub, _supports_binary),
    *(
        Converter(f"aten.{name}", _convert_extremum(operator), _supports_binary)
        for operator, names in (
            (ops.Maximum, ("maximum.default", "max.other")),
            (ops.Minimum, ("minimum.default", "min.other")),
        )
        for name in names
    ),
    *(
        converter
        for names, operator in _UNARY.items()
        for converter in _both(names, "default", _unary(operator), _supports_unary)
    ),
]
