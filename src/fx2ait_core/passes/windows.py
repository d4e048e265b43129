"""Let the producer of a tensor reduce windows of it, where a kernel does so and it pays."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

from ..errors import KernelError
from ..extend.contributions import PassContext
from ..ir.graph import Graph
from ..ir.operator import Operator
from ..ir.traits import AbsorbsWindows, ReducesWindows
from ..ir.window import WindowReduction
from ..plan.problems import offers_for, problem_of


def absorb_windows(graph: Graph, context: PassContext) -> None:
    """``window(op(…)) => op(…) reduced over windows`` for operators with ``AbsorbsWindows``.

    The reduced tensor must have no other reader. What the reducing operator has as an epilogue goes
    along if it reads no tensor. The registry is asked which kernels serve the two apart and the one
    together, and they are joined only where the best estimates say that this is faster, at the
    smallest and at the largest sizes that the graph declares.
    """
    for reducer in list(graph.operators):
        producer = reducer.operands[0].producer if reducer.operands else None
        if producer is None or (window := _offered(graph, producer, reducer)) is None:
            continue
        joined = copy.copy(producer)
        joined.window = window
        joined.results = [reducer.result]
        if _pays(graph, context, producer, reducer, joined):
            producer.window = window
            producer.origin = producer.origin.merged(reducer.origin)
            producer.results = joined.results
            reducer.result.producer = producer
            graph.remove(producer)
            graph.operators[graph.operators.index(reducer)] = producer


def _offered(graph: Graph, producer: Operator, reducer: Operator) -> WindowReduction | None:
    """What ``reducer`` computes of the result of ``producer``, if that could compute it itself."""
    if reducer.trait(ReducesWindows) is None or producer.trait(AbsorbsWindows) is None:
        return None
    if producer.window is not None or graph.use_count(producer.result) != 1 or reducer.epilogue_operands:
        return None
    window = reducer.window_of([operand.type for operand in reducer.operands], reducer.attributes)
    if window is None or reducer.epilogue is None:
        return window
    return replace(window, finish=window.finish.then(reducer.epilogue, 0))


def _pays(
    graph: Graph, context: PassContext, producer: Operator, reducer: Operator, joined: Operator
) -> bool:
    for sizes in _extremes(graph):
        together = _microseconds(joined, graph, context, sizes)
        if together is None:
            return False
        apart = [_microseconds(operator, graph, context, sizes) for operator in (producer, reducer)]
        # Where one of the two has no kernel of its own, together is the only way.
        if None not in apart and together > sum(time for time in apart if time is not None):
            return False
    return True


def _extremes(graph: Graph) -> list[Mapping[str, int]]:
    """The smallest and the largest size of every dynamic symbol."""
    smallest = {name: limits.min for name, limits in graph.symbols.items()}
    largest = {name: limits.max for name, limits in graph.symbols.items()}
    return [smallest] if smallest == largest else [smallest, largest]


def _microseconds(
    operator: Operator, graph: Graph, context: PassContext, sizes: Mapping[str, int]
) -> float | None:
    """The best estimate of all kernels that serve the operator; None where none does."""
    problem = problem_of(operator, graph, context.target, sizes)
    try:
        offers = offers_for(problem, context.registry, operator.name)
    except KernelError:
        return None
    return min(offer.candidate.estimate_us for offer in offers)
