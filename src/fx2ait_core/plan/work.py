"""What a launch has to do at least: operations, and bytes to and from memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

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
    :param inputs: elements read of each input of the engine, by its index: the caller may give another dtype.
    """

    flops: Dim = 0
    bytes: Dim = 0
    dtype: DType | None = None
    inputs: tuple[tuple[int, Dim], ...] = ()


def work_of(
    operator: Operator,
    base: Callable[[Value], Value] = lambda value: value,
    inputs: Mapping[Value, int] = MappingProxyType({}),
) -> Work:
    """The work of one launch that computes ``operator``.

    :param base: the value whose memory a view looks at.
    :param inputs: the engine's inputs with their indices.
    """
    types = [operand.type for operand in operator.operands]
    results = [result.type for result in operator.results]
    elements = operator.elements_read(types, results, operator.attributes)
    read: dict[Value, Dim] = {}
    counts = [*elements, *(value.type.element_count for value in operator.epilogue_operands)]
    for value, count in zip(operator.inputs, counts, strict=True):
        tensor = base(value)
        read[tensor] = _larger(read[tensor], count) if tensor in read else simplify(count)
    moved = sum((count * tensor.type.dtype.itemsize for tensor, count in read.items()), start=0)
    moved += sum((type.byte_count for type in results), start=0)
    return Work(
        flops=simplify(operator.flops(types, results, operator.attributes)),
        bytes=simplify(moved),
        dtype=_arithmetic(operator),
        inputs=tuple((inputs[tensor], count) for tensor, count in read.items() if tensor in inputs),
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
