"""Rules that every graph keeps between passes."""

from __future__ import annotations

from ..errors import IRError
from .graph import Graph
from .operator import Operator
from .traits import AbsorbsWindows, Epilogue
from .value import Constant, Input, Value


def verify(graph: Graph, stage: str = "") -> None:
    """Raise :class:`IRError` that lists every broken rule: order, producers, symbols, epilogues,
    windows, outputs."""
    faults: list[str] = []
    available: set[Value] = set(graph.inputs)
    names: dict[str, Value] = {}
    for operator in graph.operators:
        for value in operator.inputs:
            if not isinstance(value, Constant) and value not in available:
                faults.append(f"{operator.name} reads {value.name} before it is computed")
        for result in operator.results:
            if result.producer is not operator:
                faults.append(f"{result.name} does not know that {operator.name} computes it")
            if names.setdefault(result.name, result) is not result:
                faults.append(f"two values are called {result.name}")
            available.add(result)
        count = operator.epilogue.input_count if operator.epilogue else 1
        if count != 1 + len(operator.epilogue_operands):
            faults.append(f"{operator.name}: its epilogue reads {count - 1} operands")
        if operator.epilogue is not None and operator.trait(Epilogue) is None:
            faults.append(f"{operator.name}: {operator.kind} has no epilogue")
        if operator.window is not None:
            faults += _window_faults(operator)
    for value in graph.values():
        free = {s.name for dim in value.type.shape if not isinstance(dim, int) for s in dim.free_symbols}
        if unknown := sorted(free - set(graph.symbols)):
            faults.append(f"{value.name} has the undeclared dimension {', '.join(unknown)}")
    for output in graph.outputs:
        if output not in available and not isinstance(output, Constant | Input):
            faults.append(f"output {output.name} is never computed")
    if faults:
        after = f" after {stage}" if stage else ""
        raise IRError(f"the graph of {graph.name}{after} is broken:\n  " + "\n  ".join(faults))


def _window_faults(operator: Operator) -> list[str]:
    if operator.trait(AbsorbsWindows) is None:
        return [f"{operator.name}: {operator.kind} absorbs no windows"]
    assert operator.window is not None
    (computed,) = operator.infer([operand.type for operand in operator.operands], operator.attributes)
    faults = []
    if computed.shape[2:] != operator.window.input_size:
        faults.append(f"{operator.name}: its window reduces {operator.window.input_size}, not {computed}")
    if operator.window.reduced(computed.shape) != operator.result.type.shape:
        faults.append(f"{operator.name}: its window does not reduce to {operator.result.type}")
    if operator.window.finish.input_count != 1:
        faults.append(f"{operator.name}: its window ends in a program with operands")
    return faults
