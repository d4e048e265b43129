"""Arithmetic, views and concatenation for fx2ait."""

from __future__ import annotations

from fx2ait_core.sdk import Converter, Kernel, Operator, PointwiseExpression, hookimpl

from .arithmetic import ARITHMETIC
from .arithmetic import EXPRESSIONS as ARITHMETIC_EXPRESSIONS
from .arithmetic_converters import ARITHMETIC_CONVERTERS
from .concat_converters import CONCAT_CONVERTERS
from .expand_converters import EXPAND_CONVERTERS
from .operators import EXPRESSIONS as SHAPE_EXPRESSIONS
from .operators import OPERATORS
from .shape_converters import SHAPE_CONVERTERS


@hookimpl
def fx2ait_contract() -> int:
    return 1


@hookimpl
def fx2ait_operators() -> list[type[Operator]]:
    return [*ARITHMETIC, *OPERATORS]


@hookimpl
def fx2ait_converters() -> list[Converter]:
    return [*ARITHMETIC_CONVERTERS, *SHAPE_CONVERTERS, *CONCAT_CONVERTERS, *EXPAND_CONVERTERS]


@hookimpl
def fx2ait_expressions() -> list[PointwiseExpression]:
    return [*ARITHMETIC_EXPRESSIONS, *SHAPE_EXPRESSIONS]


@hookimpl
def fx2ait_kernels() -> list[Kernel]:
    from . import cpu, cuda  # noqa: PLC0415  (they are large, and only a compilation needs them)

    return [*cpu.KERNELS, *cuda.KERNELS]
