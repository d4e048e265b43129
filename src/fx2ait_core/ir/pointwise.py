"""Pointwise programs: short chains of scalar expressions that any kernel can evaluate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class PointwiseStep:
    """One scalar expression, e.g. ``fx::maximum({0}, 0.0f)``.

    ``expression`` has a placeholder ``{i}`` per argument; attributes are already written
    into it as literals. ``arguments`` are slots: the program's inputs come first, then one
    slot for the result of each earlier step.
    """

    kind: str
    expression: str
    arguments: tuple[int, ...]


@dataclass(frozen=True)
class PointwiseProgram:
    """Steps over ``input_count`` float32 scalars; the last step's slot is the result.

    As an epilogue, input 0 is the value that the owning operator computed and the others are
    its epilogue operands in order. A program without steps is the identity, on one input.
    """

    input_count: int
    steps: tuple[PointwiseStep, ...] = ()

    def __post_init__(self) -> None:
        if self.input_count != 1 and not self.steps:
            raise ValueError(f"the identity has one input, not {self.input_count}")

    @property
    def result(self) -> int:
        return self.input_count + len(self.steps) - 1 if self.steps else 0

    @property
    def is_identity(self) -> bool:
        return not self.steps

    def statements(self, inputs: Sequence[str], prefix: str = "t") -> tuple[list[str], str]:
        """C statements that evaluate the program on the expressions ``inputs``.

        Returns the statements (``const float t0 = …;``) and the name that holds the result.
        """
        names = list(inputs)
        statements = []
        for position, step in enumerate(self.steps):
            text = step.expression.format(*(names[slot] for slot in step.arguments))
            names.append(f"{prefix}{position}")
            statements.append(f"const float {names[-1]} = {text};")
        return statements, names[self.result]

    def then(self, following: PointwiseProgram, slot: int) -> PointwiseProgram:
        """``following`` with its input ``slot`` computed by this program.

        Inputs of the result: this program's inputs, then the following ones without ``slot``.
        """
        others = [index for index in range(following.input_count) if index != slot]
        inputs = self.input_count + len(others)

        def mine(index: int) -> int:
            return index if index < self.input_count else index + len(others)

        def theirs(index: int) -> int:
            if index == slot:
                return mine(self.result)
            if index < following.input_count:
                return self.input_count + others.index(index)
            return inputs + len(self.steps) + index - following.input_count

        steps = [replace(s, arguments=tuple(mine(a) for a in s.arguments)) for s in self.steps]
        steps += [replace(s, arguments=tuple(theirs(a) for a in s.arguments)) for s in following.steps]
        return PointwiseProgram(inputs, tuple(steps))

    def rewired(self, mapping: Sequence[int], input_count: int) -> PointwiseProgram:
        """The same program with input ``i`` read from slot ``mapping[i]`` of ``input_count`` inputs."""

        def moved(index: int) -> int:
            return mapping[index] if index < self.input_count else index - self.input_count + input_count

        steps = tuple(replace(s, arguments=tuple(moved(a) for a in s.arguments)) for s in self.steps)
        return PointwiseProgram(input_count, steps)

    def __str__(self) -> str:
        statements, result = self.statements([f"x{i}" for i in range(self.input_count)])
        return " ".join(s.removeprefix("const float ") for s in statements) + f" -> {result}"
