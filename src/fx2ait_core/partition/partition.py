"""Ask the registry about every node, by the same predicates that conversion relies on."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..capture.program import CapturedProgram
from ..errors import Decline, Fx2aitError, UnsupportedNodesError
from ..extend.contributions import Converter
from ..extend.registry import Contribution, Registry
from ..extend.verdict import verdict
from ..ir.value import Value
from .calls import call_of, is_symbolic, origin_of, overload_of, placeholder_value


@dataclass(frozen=True)
class Refusal:
    """A node that no converter takes, with what each one said."""

    node: torch.fx.Node
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        origin = origin_of(self.node)
        where = f" in {origin.modules[0]}" if origin.modules else ""
        line = f"  at {origin.source}" if origin.source else ""
        reasons = "".join(f"\n      {reason}" for reason in self.reasons)
        return f"  {self.node.name}: {overload_of(self.node)}{where}{line}{reasons}"


@dataclass(frozen=True)
class PartitionedProgram:
    """A captured program with the converter of each node.

    A later version hands runs of ``refusals`` to PyTorch; this one compiles whole models only,
    so that :func:`partition` raises when there are any.
    """

    captured: CapturedProgram
    converters: Mapping[torch.fx.Node, Contribution[Converter]]
    refusals: tuple[Refusal, ...] = ()


def partition(captured: CapturedProgram, registry: Registry, hint: str = "") -> PartitionedProgram:
    """Choose a converter for every call.

    :param hint: what is wrong with the installed plugins, for the error's last line.

    Raises :class:`UnsupportedNodesError` that lists all nodes without one.
    """
    values: dict[torch.fx.Node, Any] = {}
    chosen: dict[torch.fx.Node, Contribution[Converter]] = {}
    refusals: list[Refusal] = []

    def value_of(node: torch.fx.Node) -> Value:
        if node not in values:
            constant = captured.constants.get(node.name) if node.op == "placeholder" else None
            values[node] = constant or placeholder_value(node, captured.symbol_names)
        return values[node]

    for node in captured.graph.nodes:
        if node.op != "call_function" or is_symbolic(node) or node.target is operator.getitem:
            continue
        reasons: list[str] = []
        for offer in registry.converters(overload_of(node)):
            declined = _declines(offer, node, value_of, captured.symbol_names)
            if declined is None:
                chosen[node] = offer
                break
            reasons.append(f"{offer.distribution}: {declined.reason}")
        else:
            refusals.append(Refusal(node, tuple(reasons) or ("no installed plugin converts it",)))
    if refusals:
        raise UnsupportedNodesError(_explain(captured.name, refusals, len(chosen), hint))
    return PartitionedProgram(captured, chosen)


def _declines(
    offer: Contribution[Converter],
    node: torch.fx.Node,
    value_of: Callable[[torch.fx.Node], Any],
    symbol_names: Mapping[str, str],
) -> Decline | None:
    """None where the converter takes the node."""
    try:
        call = call_of(node, value_of, symbol_names)
    except Fx2aitError as error:  # a tensor that the IR has no type for
        return Decline(str(error))
    return verdict(offer.value.supports, call, f"the converter of {call.overload} by {offer.distribution}")


def _explain(name: str, refusals: list[Refusal], supported: int, hint: str) -> str:
    total = supported + len(refusals)
    lines = [f"{len(refusals)} of the {total} operations of {name} cannot be compiled:"]
    lines += [str(refusal) for refusal in refusals]
    lines.append(hint or "A plugin may bring what is missing; docs/plugins.md says how to write one.")
    return "\n".join(lines)
