"""Batch normalization for fx2ait."""

from __future__ import annotations

from fx2ait_core.sdk import Converter, Operator, Pass, PointwiseExpression, hookimpl

from .converters import CONVERTERS
from .folding import FOLD_BATCH_NORM
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


@hookimpl
def fx2ait_passes() -> list[Pass]:
    return [FOLD_BATCH_NORM]
