"""Operators: the computations of the IR. Plugins subclass :class:`Operator`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from ..errors import IRError
from .dims import Dim, Shape
from .pointwise import PointwiseProgram
from .traits import Pointwise, Trait
from .types import TensorType, tensor_type
from .value import Value
from .window import WindowReduction

T = TypeVar("T", bound=Trait)


@dataclass(frozen=True)
class Attributes:
    """Base of an operator's attributes: a frozen dataclass of plain, hashable values."""

    def __str__(self) -> str:
        return ", ".join(f"{f.name}={getattr(self, f.name)}" for f in fields(self))


NO_ATTRIBUTES = Attributes()


@dataclass(frozen=True)
class Origin:
    """Where an operator came from in the user's model, for names and error messages."""

    nodes: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    source: str = ""

    def merged(self, other: Origin) -> Origin:
        return Origin(
            tuple(dict.fromkeys(self.nodes + other.nodes)),
            tuple(dict.fromkeys(self.modules + other.modules)),
            self.source or other.source,
        )

    def __str__(self) -> str:
        return " + ".join(self.modules or self.nodes)


class Operator:
    """One computation with operands, attributes and results.

    A subclass names its ``kind`` (``plugin.operator``), its ``operand_names`` in order
    (trailing ones may be left out when the operator is built), its ``traits``, and infers
    result types in :meth:`infer`.
    """

    kind: ClassVar[str]
    operand_names: ClassVar[tuple[str, ...]] = ("input",)
    traits: ClassVar[tuple[Trait, ...]] = ()

    def __init__(
        self,
        operands: Sequence[Value],
        attributes: Attributes = NO_ATTRIBUTES,
        *,
        name: str = "",
        origin: Origin | None = None,
    ) -> None:
        self.operands = list(operands)
        self.attributes = attributes
        self.epilogue: PointwiseProgram | None = None
        self.epilogue_operands: list[Value] = []
        self.window: WindowReduction | None = None
        self.origin = origin or Origin()
        types = self.infer([operand.type for operand in operands], attributes)
        self.results = [
            Value(name if len(types) == 1 else f"{name}_{index}", type, self)
            for index, type in enumerate(types)
        ]

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: Any) -> tuple[TensorType, ...]:
        """Result types (row-major; the layout pass chooses layouts).

        Raises :class:`~fx2ait_core.errors.IRError` when the operands do not fit.
        """
        raise NotImplementedError

    @classmethod
    def result_layouts(cls, operands: Sequence[TensorType], attributes: Any) -> Any:
        """For a ``View`` that is not row-major: the layout of its result over operand 0's memory."""
        raise NotImplementedError

    @classmethod
    def flops(cls, operands: Sequence[TensorType], results: Sequence[TensorType], attributes: Any) -> Dim:
        """Floating-point operations of the definition, a multiplication with its addition being 2.

        Reports compare a kernel's time with it; nothing is chosen by it. 0, the default, stands for an
        operator whose time is that of moving its tensors.
        """
        return 0

    @classmethod
    def elements_read(
        cls, operands: Sequence[TensorType], results: Sequence[TensorType], attributes: Any
    ) -> tuple[Dim, ...]:
        """How many elements of each operand must be read at least once; by default all."""
        return tuple(operand.element_count for operand in operands)

    @classmethod
    def window_of(cls, operands: Sequence[TensorType], attributes: Any) -> WindowReduction | None:
        """For an operator with ``ReducesWindows``: the reduction it computes, or None where it is no
        plain one."""
        raise NotImplementedError

    @classmethod
    def trait(cls, kind: type[T]) -> T | None:
        """The operator's trait of that kind, if it has one."""
        return next((trait for trait in cls.traits if isinstance(trait, kind)), None)

    @property
    def inputs(self) -> list[Value]:
        """Operands, then epilogue operands."""
        return [*self.operands, *self.epilogue_operands]

    @property
    def result(self) -> Value:
        return self.results[0]

    @property
    def name(self) -> str:
        return self.results[0].name

    def replace_operand(self, old: Value, new: Value) -> None:
        self.operands = [new if value is old else value for value in self.operands]
        self.epilogue_operands = [new if v is old else v for v in self.epilogue_operands]

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}>"


def broadcast(*shapes: Shape) -> Shape:
    """The shape that NumPy's broadcasting gives; raises :class:`IRError` when there is none."""
    rank = max(len(shape) for shape in shapes)
    result: list[Dim] = []
    for axis in range(-rank, 0):
        dims = {shape[axis] for shape in shapes if len(shape) >= -axis} - {1}
        if len(dims) > 1:
            raise IRError(f"shapes {', '.join(map(str, shapes))} cannot be broadcast together")
        result.append(dims.pop() if dims else 1)
    return tuple(result)


class PointwiseOperator(Operator):
    """An operator that a :class:`~fx2ait_core.extend.contributions.PointwiseExpression` computes."""

    operand_names: ClassVar[tuple[str, ...]] = ("input",)
    traits: ClassVar[tuple[Trait, ...]] = (Pointwise(),)

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: Any) -> tuple[TensorType, ...]:
        shape = broadcast(*(operand.shape for operand in operands))
        return (tensor_type(shape, operands[0].dtype),)


def pointwise_operator(
    kind: str, arity: int = 1, attributes: type[Attributes] = Attributes
) -> type[PointwiseOperator]:
    """A pointwise operator class in one line; ``arity`` operands named ``input``, ``other``, …

    >>> pointwise_operator("mish.mish").kind
    'mish.mish'
    """
    names = ("input", "other", *(f"operand{i}" for i in range(2, arity)))[:arity]
    class_name = "".join(part.capitalize() for part in kind.rsplit(".", maxsplit=1)[-1].split("_"))
    return type(
        class_name,
        (PointwiseOperator,),
        {
            "kind": kind,
            "operand_names": names,
            "attribute_type": attributes,
            "__doc__": f"Pointwise ``{kind}``.",
        },
    )
