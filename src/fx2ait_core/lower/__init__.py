"""Lower: FX nodes to IR operators, each by the converter that partitioning chose."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import torch

from ..capture.tensors import dim_of, dtype_of
from ..errors import ConversionError, Fx2aitError, IRError
from ..ir.dims import Shape, is_static
from ..ir.graph import Graph
from ..ir.operator import Operator
from ..ir.types import tensor_type
from ..ir.value import Input, Value
from ..partition.calls import call_of, is_symbolic, overload_of
from ..partition.partition import PartitionedProgram


def lower(partitioned: PartitionedProgram) -> Graph:
    """Convert every node and return the graph, unoptimized.

    Raises :class:`ConversionError` that names the node, the overload and the distribution.
    """
    captured = partitioned.captured
    graph = Graph(captured.name)
    graph.symbols = dict(captured.symbols)
    graph.output_dtypes = list(captured.output_dtypes)
    values: dict[torch.fx.Node, Any] = {}

    def append(made: Operator) -> None:
        for result in made.results:
            if 0 in result.type.shape:
                raise IRError(f"{made.kind} makes {result.type}, which holds no elements")
            result.name = graph.fresh_name(result.name)
        graph.operators.append(made)

    for node in captured.graph.nodes:
        if node.op == "placeholder" and node.name in captured.input_names:
            fake = node.meta["val"]
            shape = tuple(dim_of(size, captured.symbol_names) for size in fake.shape)
            value = Input(captured.input_names[node.name], tensor_type(shape, dtype_of(fake.dtype)))
            graph.inputs.append(value)
            values[node] = value
        elif node.op == "placeholder":
            values[node] = captured.constants.get(node.name)
        elif node.op == "call_function" and node.target is operator.getitem:
            results = values[node.args[0]]
            picked = results[node.args[1]] if isinstance(results, list) else results
            if picked is None or (not isinstance(results, list) and node.args[1] != 0):
                raise ConversionError(
                    f"{node.name}: result {node.args[1]} of {overload_of(node.args[0])} is read, "
                    "but its converter offers only the first one"
                )
            values[node] = picked
        elif node.op == "call_function" and not is_symbolic(node):
            offer = partitioned.converters[node]
            call = call_of(node, values.__getitem__, captured.symbol_names, append)
            try:
                values[node] = offer.value.convert(call)
            except Fx2aitError as error:
                raise ConversionError(_failed(node, call, offer.distribution, error)) from error
            except Exception as error:
                raise ConversionError(
                    _failed(node, call, offer.distribution, f"{type(error).__name__}: {error}")
                ) from error
            if (fault := _fault(values[node], node, captured.symbol_names)) is not None:
                raise ConversionError(_failed(node, call, offer.distribution, fault))
        elif node.op == "output":
            for index, output in enumerate(node.args[0]):
                value = values[output]
                assert isinstance(value, Value)
                graph.outputs.append(value)
                graph.output_names.append(f"output{index}" if len(node.args[0]) > 1 else "output")
    return graph


def _fault(converted: Any, node: torch.fx.Node, symbol_names: Mapping[str, str]) -> str | None:
    """None, or what is wrong with what a converter returned for the node."""
    expected = node.meta["val"]
    if isinstance(expected, torch.Tensor):
        pairs = [(converted, expected)]
    elif isinstance(converted, list):
        pairs = [(v, e) for v, e in zip(converted, expected, strict=False) if v is not None]
    else:
        pairs = [(converted, expected[0])]
    for value, tensor in pairs:
        if not isinstance(value, Value):
            return f"it returned a {type(value).__name__}, not a value"
        shape = tuple(dim_of(size, symbol_names) for size in tensor.shape)
        if not _may_be_equal(value.type.shape, shape):
            return f"it made {value.type}, but PyTorch's result has the shape {shape}"
        if value.type.dtype.is_floating != tensor.dtype.is_floating_point:
            return f"it made {value.type}, but PyTorch's result is {tensor.dtype}"
    return None


def _may_be_equal(mine: Shape, other: Shape) -> bool:
    """False when the shapes differ in rank or in a static dimension; sizes known at run time may be equal."""
    pairs = zip(mine, other, strict=False)
    return len(mine) == len(other) and all(a == b for a, b in pairs if is_static((a, b)))


def _failed(node: torch.fx.Node, call: Any, distribution: str, cause: object) -> str:
    where = f" in {call.origin.modules[0]}" if call.origin.modules else ""
    line = f" at {call.origin.source}" if call.origin.source else ""
    return f"{node.name}: {overload_of(node)}{where}{line}: the converter of {distribution} failed: {cause}"
