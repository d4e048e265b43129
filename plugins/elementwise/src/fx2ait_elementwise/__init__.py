"""Arithmetic, views and concatenation for fx2ait."""

from __future__ import annotations

from fx2ait_core.sdk import Converter, Kernel, Operator, PointwiseExpression, hookimpl


@hookimpl
def fx2ait_contract() -> int:
    return 1


@hookimpl
def fx2ait_operators() -> list[type[Operator]]:
    from .arithmetic import ARITHMETIC
    from .operators import OPERATORS

    return [*OPERATORS, *ARITHMETIC]


@hookimpl
def fx2ait_converters() -> list[Converter]:
    from .arithmetic_converters import ARITHMETIC_CONVERTERS
    from .shape_converters import SHAPE_CONVERTERS

    return [*ARITHMETIC_CONVERTERS, *SHAPE_CONVERTERS]


@hookimpl
def fx2ait_expressions() -> list[PointwiseExpression]:
    from .arithmetic import EXPRESSIONS

    return EXPRESSIONS


@hookimpl
def fx2ait_kernels() -> list[Kernel]:
    from . import cpu, cuda

    return [*cpu.KERNELS, *cuda.KERNELS]
