"""The core's own view: the same memory under an equivalent layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .layouts import Layout
from .operator import Attributes, Operator
from .traits import View
from .types import TensorType


@dataclass(frozen=True)
class RelabelAttributes(Attributes):
    """``layout``: equivalent to the operand's, i.e. equal but for dimensions of size 1."""

    layout: Layout


class Relabel(Operator):
    """The operand under an equivalent layout, e.g. channels-last for row-major of 1x1 pixels."""

    kind = "core.relabel"
    traits = (View(),)

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: Any) -> tuple[TensorType, ...]:
        return (operands[0].with_layout(attributes.layout),)

    @classmethod
    def result_layouts(cls, operands: Sequence[TensorType], attributes: Any) -> Any:
        return attributes.layout


def equivalent(type: TensorType, layout: Layout) -> bool:
    """True when the tensor has the same strides in ``layout``, sizes of 1 apart."""
    present = [axis for axis in type.layout.order if type.shape[axis] != 1]
    return present == [axis for axis in layout.order if type.shape[axis] != 1]
