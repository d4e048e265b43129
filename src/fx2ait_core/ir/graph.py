"""The graph: inputs, constants, operators in execution order, outputs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from .dims import DimRange
from .dtypes import DType
from .operator import Operator
from .value import Constant, Input, Value


class Graph:
    """A whole model. ``operators`` is a topological order and the order of execution."""

    def __init__(self, name: str = "model") -> None:
        self.name = name
        self.symbols: dict[str, DimRange] = {}
        self.inputs: list[Input] = []
        self.operators: list[Operator] = []
        self.outputs: list[Value] = []
        self.output_names: list[str] = []
        self.output_dtypes: list[DType] = []

    @property
    def constants(self) -> list[Constant]:
        """Constants that some operator or output reads, in order of first use."""
        read = [value for operator in self.operators for value in operator.inputs]
        return list(dict.fromkeys(v for v in [*read, *self.outputs] if isinstance(v, Constant)))

    def values(self) -> Iterable[Value]:
        """Inputs, constants and results, each once."""
        yield from self.inputs
        yield from self.constants
        for operator in self.operators:
            yield from operator.results

    def users(self) -> dict[Value, list[Operator]]:
        """The operators that read each value; an operator that reads it twice is listed once."""
        users: dict[Value, list[Operator]] = defaultdict(list)
        for operator in self.operators:
            for value in dict.fromkeys(operator.inputs):
                users[value].append(operator)
        return users

    def use_count(self, value: Value) -> int:
        """Reads by operators plus appearances among the outputs."""
        reads = sum(v is value for operator in self.operators for v in operator.inputs)
        return reads + sum(output is value for output in self.outputs)

    def replace_value(self, old: Value, new: Value) -> None:
        """Let everything that reads ``old`` read ``new``."""
        for operator in self.operators:
            operator.replace_operand(old, new)
        self.outputs = [new if output is old else output for output in self.outputs]

    def insert_before(self, anchor: Operator, operator: Operator) -> None:
        self.operators.insert(self.operators.index(anchor), operator)

    def remove(self, operator: Operator) -> None:
        self.operators.remove(operator)

    def fresh_name(self, base: str) -> str:
        """``base``, or ``base_1``, ``base_2``, … when the name is taken."""
        taken = {value.name for value in self.values()}
        if base not in taken:
            return base
        return next(name for i in range(1, len(taken) + 2) if (name := f"{base}_{i}") not in taken)
