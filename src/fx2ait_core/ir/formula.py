"""Sizes written as text in a manifest, such as ``2*batch + 1``, read without running any code."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from fractions import Fraction

_OPERATIONS: Mapping[type[ast.operator], Callable[[Fraction, Fraction], Fraction]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: lambda left, right: Fraction(left // right),
}
_LARGEST_EXPONENT = 16
_FUNCTIONS: Mapping[str, Callable[..., Fraction]] = {
    "floor": lambda value: Fraction(math.floor(value)),
    "ceiling": lambda value: Fraction(math.ceil(value)),
    "Max": max,
    "Min": min,
}


def evaluate_formula(formula: int | str, sizes: Mapping[str, int]) -> int:
    """The value of ``formula`` (as ``str`` writes a :data:`~fx2ait_core.ir.dims.Dim`) at ``sizes``.

    Raises ``ValueError`` for anything but integer arithmetic over the names in ``sizes``.
    """
    if isinstance(formula, int):
        return formula
    try:
        return int(_value(ast.parse(formula.strip(), mode="eval").body, sizes))
    except (SyntaxError, TypeError, ZeroDivisionError, RecursionError) as error:
        raise ValueError(f"{formula!r} is no formula over {', '.join(sizes) or 'no sizes'}") from error


def _value(node: ast.expr, sizes: Mapping[str, int]) -> Fraction:
    match node:
        case ast.Constant(value=int(number)):
            return Fraction(number)
        case ast.Name(id=name) if name in sizes:
            return Fraction(sizes[name])
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner, sizes)
        case ast.BinOp(left=base, op=ast.Pow(), right=ast.Constant(value=int(power))) if (
            0 <= power <= _LARGEST_EXPONENT
        ):
            return _value(base, sizes) ** power
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_value(left, sizes), _value(right, sizes))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_value(arg, sizes) for arg in args))
    raise ValueError(f"{ast.unparse(node)!r} is no integer arithmetic over {', '.join(sizes) or 'no sizes'}")
