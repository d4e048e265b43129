"""FX nodes as :class:`~fx2ait_core.extend.call.Call`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ..capture.tensors import dim_of, dtype_of
from ..extend.call import Call
from ..ir.operator import Operator, Origin
from ..ir.types import tensor_type
from ..ir.value import Value

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+)')


def overload_of(node: torch.fx.Node) -> str:
    """``aten.relu.default`` and the like."""
    return str(node.target)


def is_symbolic(node: torch.fx.Node) -> bool:
    """True for a node that computes a size, which lowering reads from its metadata."""
    return not _holds_tensor(node.meta.get("val"))


def _holds_tensor(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_holds_tensor(item) for item in value)
    return isinstance(value, torch.Tensor)


def origin_of(node: torch.fx.Node) -> Origin:
    """The node, the module and the line of the user's code it came from."""
    stack = node.meta.get("nn_module_stack") or {}
    modules = [path for path, *_ in stack.values() if path]
    frames = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [frame for frame in frames if "/torch/" not in frame[0]] or frames
    source = f"{own[-1][0]}:{own[-1][1]}" if own else ""
    return Origin((node.name,), tuple(modules[-1:]), source)


def placeholder_value(node: torch.fx.Node, symbol_names: Mapping[str, str]) -> Any:
    """A value (or a list of them) of the node's type that belongs to no graph."""

    def value(fake: Any) -> Any:
        if isinstance(fake, list | tuple):
            return [value(item) for item in fake]
        if not isinstance(fake, torch.Tensor):
            return None
        shape = tuple(dim_of(size, symbol_names) for size in fake.shape)
        return Value(node.name, tensor_type(shape, dtype_of(fake.dtype)))

    return value(node.meta["val"])


def call_of(
    node: torch.fx.Node,
    value_of: Callable[[torch.fx.Node], Any],
    symbol_names: Mapping[str, str],
    append: Callable[[Operator], None] | None = None,
) -> Call:
    """The call with arguments by name, schema defaults filled in, nodes replaced by values."""
    schema = getattr(node.target, "_schema", None)
    arguments: dict[str, Any] = {}
    if schema is None:
        arguments = {str(i): argument for i, argument in enumerate(node.args)}
    else:
        for position, argument in enumerate(schema.arguments):
            if position < len(node.args):
                arguments[argument.name] = node.args[position]
            else:
                arguments[argument.name] = node.kwargs.get(argument.name, argument.default_value)

    def resolve(argument: Any) -> Any:
        if isinstance(argument, torch.fx.Node):
            if is_symbolic(argument):
                held = argument.meta["val"]
                return held if isinstance(held, float | bool) else dim_of(held, symbol_names)
            return value_of(argument)
        if isinstance(argument, list | tuple):
            return [resolve(item) for item in argument]
        return argument

    fake = node.meta["val"]
    single = isinstance(fake, torch.Tensor)
    return Call(
        overload=overload_of(node),
        arguments={name: resolve(argument) for name, argument in arguments.items()},
        result_shape=tuple(dim_of(size, symbol_names) for size in fake.shape) if single else (),
        result_dtype=dtype_of(fake.dtype) if single else None,
        origin=origin_of(node),
        name=node.name,
        append=append,
        results_read=frozenset({0}) if single else _results_read(node),
    )


def _results_read(node: torch.fx.Node) -> frozenset[int]:
    return frozenset(user.args[1] for user in node.users if user.target is operator.getitem)  # type: ignore[misc]
