"""Calls of ATen overloads, made by hand, for tests of converters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import Decline
from ..extend.call import Call
from ..extend.contributions import Converter
from ..ir.dims import Shape
from ..ir.dtypes import DType
from ..ir.graph import Graph
from ..ir.operator import Operator, Origin
from ..ir.types import TensorType, tensor_type
from ..ir.value import Constant, Input, Value


@dataclass(frozen=True)
class RecordedCall:
    """A call and the graph that conversion appends to."""

    call: Call
    graph: Graph

    def convert(self, converters: Sequence[Converter]) -> Any:
        """What the converter of the overload returns: a value, or a list of values and None.

        Raises ``AssertionError`` with the reason when it declines.
        """
        converter = _for(self.call.overload, converters)
        declined = converter.supports(self.call)
        assert declined is None, f"{self.call.overload} is declined: {declined}"
        return converter.convert(self.call)

    def decline(self, converters: Sequence[Converter]) -> str:
        """The reason why the call is declined.

        Raises ``AssertionError`` when it is supported.
        """
        declined = _for(self.call.overload, converters).supports(self.call)
        assert isinstance(declined, Decline), f"{self.call.overload} is supported"
        return declined.reason

    @property
    def operators(self) -> list[Operator]:
        return self.graph.operators


def _for(overload: str, converters: Sequence[Converter]) -> Converter:
    (found,) = [converter for converter in converters if converter.overload == overload]
    return found


def record_call(overload: str, /, **arguments: Any) -> RecordedCall:
    """A call of ``overload``, e.g. ``record_call("aten.relu.default", self=float32(2, 3))``.

    :param arguments: by the schema's names. A :class:`TensorType` stands for a computed tensor, a
        NumPy array for a constant; other values are taken as they are. Defaults are filled in.

    The result's shape and dtype are those that PyTorch gives for meta tensors, where all shapes
    are static. Raises ``TypeError`` for an argument that the overload does not have.
    """
    schema = _overload(overload)._schema
    names = [argument.name for argument in schema.arguments]
    if unknown := sorted(set(arguments) - set(names)):
        raise TypeError(f"{overload} has no argument {', '.join(unknown)}; it has {', '.join(names)}")
    graph = Graph()
    resolved = {
        argument.name: _value(arguments.get(argument.name, argument.default_value), argument.name, graph)
        for argument in schema.arguments
    }
    shape, dtype = _result(overload, resolved)

    def append(operator: Operator) -> None:
        for result in operator.results:
            result.name = graph.fresh_name(result.name)
        graph.operators.append(operator)

    name = overload.split(".")[1]
    return RecordedCall(Call(overload, resolved, shape, dtype, Origin((name,)), name, append), graph)


def float32(*shape: Any) -> TensorType:
    """The type of a float32 tensor."""
    return tensor_type(shape, DType.float32)


def _overload(overload: str) -> Any:
    namespace, name, variant = overload.split(".")
    return getattr(getattr(getattr(torch.ops, namespace), name), variant)


def _value(argument: Any, name: str, graph: Graph) -> Any:
    if isinstance(argument, TensorType):
        value = Input(name, argument)
        graph.inputs.append(value)
        return value
    if isinstance(argument, np.ndarray):
        return Constant(name, argument)
    if isinstance(argument, (list, tuple)):
        return [_value(item, f"{name}{index}", graph) for index, item in enumerate(argument)]
    return argument


def _result(overload: str, arguments: Mapping[str, Any]) -> tuple[Shape, DType | None]:
    """Shape and dtype of the (first) result; unknown where a shape is dynamic."""

    def meta(value: Any) -> Any:
        if isinstance(value, Value):
            dtype = getattr(torch, value.type.dtype.value)
            return torch.empty(value.type.shape, dtype=dtype, device="meta")
        if isinstance(value, list):
            return [meta(item) for item in value]
        return value

    try:
        result = _overload(overload)(**{name: meta(value) for name, value in arguments.items()})
    except Exception:  # PyTorch raises many kinds for shapes that are symbolic or do not fit
        return (), None
    first = result[0] if isinstance(result, (list, tuple)) else result
    return tuple(first.shape), DType(str(first.dtype).removeprefix("torch."))
