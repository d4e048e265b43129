"""Convolution for fx2ait."""

from __future__ import annotations

from fx2ait_core.sdk import Converter, Kernel, Operator, Pass, hookimpl

from .converters import CONVERTERS
from .operators import OPERATORS
from .sums import MERGE_SUMS


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
def fx2ait_passes() -> list[Pass]:
    return [MERGE_SUMS]


@hookimpl
def fx2ait_kernels() -> list[Kernel]:
    from . import cpu, cuda  # noqa: PLC0415  (they are large, and only a compilation needs them)

    return [*cpu.KERNELS, *cuda.KERNELS]
