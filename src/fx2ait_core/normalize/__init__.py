"""Normalize: take away what an inference engine has no use for."""

from __future__ import annotations

import torch
import torch.fx

_ASSERTIONS = (
    "aten._assert_tensor_metadata.default",
    "aten._assert_scalar.default",
    "aten._assert_async.msg",
    "aten.sym_constrain_range.default",
    "aten.sym_constrain_range_for_size.default",
)
_IDENTITIES = (
    "aten.alias.default",
    "aten.detach.default",
    "aten.detach_.default",
    "aten.lift_fresh_copy.default",
    "aten.positive.default",
)
_RANDOM_WHEN_TRAINING = {
    "aten.dropout.default": 2,
    "aten.dropout_.default": 2,
    "aten.feature_dropout.default": 2,
    "aten.alpha_dropout.default": 2,
    "aten.native_dropout.default": 2,
}


def normalize(graph: torch.fx.Graph) -> torch.fx.Graph:
    """Remove assertions, identities and dropout that is switched off, in place.

    Conversions to the dtype that a tensor already has are identities too.
    """
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        name = str(node.target)
        if name in _ASSERTIONS or (node.target is torch.ops.aten.sym_size.int and not node.users):
            graph.erase_node(node)
        elif _is_identity(node, name):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    _erase_unread(graph)
    return graph


def _is_identity(node: torch.fx.Node, name: str) -> bool:
    if name in _IDENTITIES:
        return True
    if name in _RANDOM_WHEN_TRAINING:
        position = _RANDOM_WHEN_TRAINING[name]
        return len(node.args) > position and node.args[position] is False
    if name.startswith(("aten.to.", "aten._to_copy.")):
        assert isinstance(node.args[0], torch.fx.Node)
        source, result = node.args[0].meta["val"], node.meta["val"]
        return bool(source.dtype == result.dtype and source.device == result.device)
    return False


def _erase_unread(graph: torch.fx.Graph) -> None:
    """Erase calls that nothing reads; in-place ones too, since nothing reads what they wrote to."""
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and not node.users:
            graph.erase_node(node)
