"""Activation functions for fx2ait."""

from __future__ import annotations

from fx2ait_core.sdk import Converter, Operator, PointwiseExpression, hookimpl

from .converters import CONVERTERS
from .operators import EXPRESSIONS, OPERATORS


@hookimpl
def fx2ait_contract() -> int:
    return 1


@hookimpl
def fx2ait_operators() -> list[type[Operator]]:
    return OPERATORS


@hookimpl
def fx2ait_converters() -> list[Converter]:
    return CONVERTERS


@hookimpl
def fx2ait_expressions() -> list[PointwiseExpression]:
    return EXPRESSIONS
