"""Values: what operators read and write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .dtypes import DType
from .layouts import Layout
from .types import TensorType, tensor_type

if TYPE_CHECKING:
    from .operator import Operator


class Value:
    """A tensor in the graph; identity, not name or content, tells two values apart."""

    def __init__(self, name: str, type: TensorType, producer: Operator | None = None) -> None:
        self.name = name
        self.type = type
        self.producer = producer

    def __repr__(self) -> str:
        return f"%{self.name}: {self.type}"


class Input(Value):
    """A tensor given by the caller, in the dtype and layout that the caller has it in.

    Kernels that declare so read it as it comes (see ``Kernel.external_operands``); for the
    others a pass inserts one conversion.
    """


class Constant(Value):
    """A tensor known ahead of time, e.g. a weight; ``array`` is never written to.

    The array keeps the precision it came with (or float64 after folding) until the kernel
    that reads it packs it, so that it is rounded once; ``type.dtype`` is what it is stored as.
    """

    def __init__(self, name: str, array: np.ndarray, layout: Layout | None = None) -> None:
        array = np.asarray(array)
        super().__init__(name, tensor_type(array.shape, DType.of(array), layout))
        self.array = array

    def stored_as(self, dtype: DType | None = None, layout: Layout | None = None) -> Constant:
        """The same elements, to be stored in another dtype or layout."""
        made = Constant(self.name, self.array)
        made.type = self.type.with_dtype(dtype or self.type.dtype).with_layout(layout or self.type.layout)
        return made
