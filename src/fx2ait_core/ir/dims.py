"""Dimensions: plain integers, or SymPy expressions over the graph's dynamic symbols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import sympy
from sympy.printing.c import C99CodePrinter

Dim: TypeAlias = int | sympy.Expr
Shape: TypeAlias = tuple[Dim, ...]


@dataclass(frozen=True, order=True)
class DimRange:
    """Inclusive bounds of a dynamic dimension, both at least 1."""

    min: int
    max: int

    def __post_init__(self) -> None:
        if not 1 <= self.min <= self.max:
            raise ValueError(f"a dynamic dimension needs 1 <= min <= max, not {self.min}..{self.max}")

    def __str__(self) -> str:
        return f"{self.min}..{self.max}"


def symbol(name: str) -> sympy.Symbol:
    """The dynamic dimension called ``name``; equal names are the same symbol."""
    return sympy.Symbol(name, integer=True, positive=True)


def simplify(dim: Dim) -> Dim:
    """``dim`` as an ``int`` when it is a number, unchanged otherwise."""
    if isinstance(dim, int):
        return dim
    expanded = sympy.expand(dim)
    return int(expanded) if expanded.is_Integer else expanded


def floor_div(dim: Dim, divisor: int) -> Dim:
    """``dim // divisor`` for numbers and for expressions."""
    return dim // divisor if isinstance(dim, int) else simplify(sympy.floor(dim / divisor))


def is_static(dims: Iterable[Dim]) -> bool:
    return all(isinstance(dim, int) for dim in dims)


def evaluate(dim: Dim, bindings: Mapping[str, int]) -> int:
    """The value of ``dim`` once each symbol has the value that ``bindings`` gives it by name."""
    if isinstance(dim, int):
        return dim
    return int(dim.subs({free: bindings[free.name] for free in dim.free_symbols}))


def element_count(shape: Shape) -> Dim:
    return simplify(prod(shape, start=1))


class _Printer(C99CodePrinter):
    """Integer arithmetic in C: a floored quotient is an integer division."""

    def _print_floor(self, expression: sympy.Expr) -> str:
        numerator, denominator = sympy.fraction(sympy.together(expression.args[0]))
        return f"(({self._print(numerator)}) / {self._print(denominator)})"


def c_expression(dim: Dim) -> str:
    """``dim`` as a C expression over ``int64_t`` variables named like the symbols."""
    return str(dim) if isinstance(dim, int) else str(_Printer().doprint(dim))
