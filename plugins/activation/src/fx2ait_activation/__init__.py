"""Activation functions for fx2ait."""

from __future__ import annotations

from fx2ait_core.sdk import Converter, Operator, PointwiseExpression, hookimpl


@hookimpl
def fx2ait_contract() -> int:
    return 1


@hookimpl
def fx2ait_operators() -> list[type[Operator]]:
    from .operators import OPERATORS

    return OPERATORS


@hookimpl
def fx2ait_converters() -> list[Converter]:
    from .converters import CONVERTERS

    return CONVERTERS


@hookimpl
def fx2ait_expressions() -> list[PointwiseExpression]:
    from .operators import EXPRESSIONS

    return EXPRESSIONS
