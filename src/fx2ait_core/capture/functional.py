"""Whether in-place calls of a graph can be read as functional ones."""

from __future__ import annotations

import torch


def mutated_argument(node: torch.fx.Node) -> torch.fx.Node | None:
    """The tensor that an in-place call writes to, or None when it writes to none."""
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable:
        return None
    for position, argument in enumerate(schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = node.args[position] if position < len(node.args) else node.kwargs.get(argument.name)
            return value if isinstance(value, torch.fx.Node) else None
    return None


def is_functional_in_effect(graph: torch.fx.Graph) -> bool:
    """True when every in-place call may be read as if it returned a new tensor.

    That holds when what it writes to is the fresh result of a call that is no view, and is read
    by nothing later and by no view earlier. Otherwise the exporter must functionalize the graph,
    which takes as long as exporting it.
    """
    position = {node: index for index, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        if node.op != "call_function":
            continue
        schema = getattr(node.target, "_schema", None)
        if schema is None or not schema.is_mutable:
            continue
        written = mutated_argument(node)
        if written is None or written.op != "call_function" or _aliases(written):
            return False
        for user in written.users:
            if user is not node and (position[user] > position[node] or _aliases(user)):
                return False
    return True


def _aliases(node: torch.fx.Node) -> bool:
    """True when the node's result may share memory with an argument (an in-place call's does not count)."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return True
    return not schema.is_mutable and any(r.alias_info is not None for r in schema.returns)
