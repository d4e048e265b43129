"""The graph as text, one operator per line."""

from __future__ import annotations

from .fused import FusedPointwise
from .graph import Graph
from .operator import NO_ATTRIBUTES, Operator
from .value import Constant, Value


def print_graph(graph: Graph) -> str:
    """E.g. ``%relu: float16[batch, 64, 56, 56] = conv.conv2d(%x, @w) {…} epilogue […] # layer1.0``."""
    lines = [f"graph {graph.name}"]
    lines += [f"  where {name} in {limits}" for name, limits in sorted(graph.symbols.items())]
    lines += [f"  input %{value.name}: {value.type}" for value in graph.inputs]
    lines += [f"  constant @{value.name}: {value.type}" for value in graph.constants]
    lines += [f"  {_operator(operator)}" for operator in graph.operators]
    lines += [
        f"  output {name} = {_reference(value)}"
        for name, value in zip(graph.output_names, graph.outputs, strict=True)
    ]
    return "\n".join(lines) + "\n"


def _reference(value: Value) -> str:
    return f"{'@' if isinstance(value, Constant) else '%'}{value.name}"


def _operator(operator: Operator) -> str:
    results = ", ".join(f"%{result.name}: {result.type}" for result in operator.results)
    operands = ", ".join(_reference(value) for value in operator.operands)
    text = f"{results} = {operator.kind}({operands})"
    if isinstance(operator, FusedPointwise):
        text += f" [{operator.attributes.program}]"  # type: ignore[attr-defined]
    elif operator.attributes is not NO_ATTRIBUTES:
        text += f" {{{operator.attributes}}}"
    if operator.epilogue is not None:
        extra = "".join(f" {_reference(value)}" for value in operator.epilogue_operands)
        text += f" epilogue [{operator.epilogue}]{extra}"
    if operator.window is not None:
        text += f" window [{operator.window}]"
    return text + (f"  # {operator.origin}" if str(operator.origin) else "")
