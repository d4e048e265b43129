"""Remove operators whose results nothing reads."""

from __future__ import annotations

from ..extend.contributions import PassContext
from ..ir.graph import Graph


def remove_dead_code(graph: Graph, context: PassContext) -> None:
    """One sweep from the outputs backwards."""
    live = set(graph.outputs)
    kept = []
    for operator in reversed(graph.operators):
        if any(result in live for result in operator.results):
            live.update(operator.inputs)
            kept.append(operator)
    graph.operators[:] = reversed(kept)
