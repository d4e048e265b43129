"""Choose the dtype of every value inside the engine."""

from __future__ import annotations

from ..extend.contributions import PassContext
from ..ir.dtypes import DType
from ..ir.fused import FusedPointwise
from ..ir.graph import Graph
from ..ir.value import Constant, Value


def assign_precision(graph: Graph, context: PassContext) -> None:
    """Give results the engine's precision.

    Inputs stay as the caller has them; the pass that finishes outputs gives those the model's own
    dtype. Constants are stored in the engine's precision, those of pointwise programs and
    epilogues in float32, since they are few and are computed with in float32.
    """
    for operator in graph.operators:
        for result in operator.results:
            if result.type.dtype.is_floating:
                result.type = result.type.with_dtype(context.precision)
        precision = DType.float32 if isinstance(operator, FusedPointwise) else context.precision
        operator.operands = [_stored(value, precision) for value in operator.operands]
        operator.epilogue_operands = [_stored(value, DType.float32) for value in operator.epilogue_operands]
    graph.outputs = [_stored(value, DType.float32) for value in graph.outputs]


def _stored(value: Value, dtype: DType) -> Value:
    if isinstance(value, Constant) and value.type.dtype.is_floating and value.type.dtype != dtype:
        return value.stored_as(dtype)
    return value
