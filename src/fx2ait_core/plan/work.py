"""What a launch has to do at least: operations, and bytes to and from memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..ir.dims import Dim, simplify
from ..ir.dtypes import DType
from ..ir.operator import Operator
from ..ir.value import Constant, Value


@dataclass(frozen=True)
class Work:
    """The least work of a launch, over the dynamic symbols.

    :param flops: operations of its operator (see :meth:`~fx2ait_core.ir.operator.Operator.flops`); those of
        an epilogue are not counted.
    :param bytes: of all that it reads (operands, weights, operands of the epilogue) and writes, each
        tensor once; the engine's inputs in their declared dtype.
    :param dtype: in which operands are multiplied; None for an operator without floating-point ones.
    """

    flops: Dim = 0
    bytes: Dim = 0
    dtype: DType | None = None


def work_of(operator: Operator, base: Callable[[Value], Value] = lambda value: value) -> Work:
    """The work of one launch that computes ``operator``.

    :param base: the value whose memory a view looks at.
    """
    types = [operand.type for operand in operator.operands]
    results = [result.type for result in operator.results]
    elements = operator.elements_read(types, results, operator.attributes)
    read: dict[Value, Dim] = {}
    for value, count in zip(operator.operands, elements, strict=True):
        moved = simplify(count * value.type.dtype.itemsize)
        known = read.get(base(value))
        read[base(value)] = moved if known is None else _larger(known, moved)
    for value in operator.epilogue_operands:
        read[base(value)] = value.type.byte_count
    moved = sum(read.values(), start=sum((type.byte_count for type in results), start=0))
    return Work(
        simplify(operator.flops(types, results, operator.attributes)), simplify(moved), _arithmetic(operator)
    )


def _larger(left: Dim, right: Dim) -> Dim:
    """The larger one where that is known, else ``left``."""
    if isinstance(left, int) and isinstance(right, int):
        return max(left, right)
    difference = simplify(right - left)
    return right if isinstance(difference, int) and difference > 0 else left


def _arithmetic(operator: Operator) -> DType | None:
    """Weights, else results, tell the precision: an input comes in whatever dtype the caller has it."""
    constants = [v.type.dtype for v in operator.operands if isinstance(v, Constant)]
    found = [dtype for dtype in (*constants, *(v.type.dtype for v in operator.results)) if dtype.is_floating]
    return min(found, key=lambda dtype: dtype.itemsize, default=None)
