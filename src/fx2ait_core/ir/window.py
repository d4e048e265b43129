"""Windowed reductions that the producer of a tensor may compute on its own result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .dims import Shape
from .pointwise import PointwiseProgram
from .types import TensorType

Reduction = Literal["max"]
IDENTITY = PointwiseProgram(1)


@dataclass(frozen=True)
class WindowReduction:
    """Each result element reduces a window of the spatial dimensions (all after the second).

    Tuples have one entry per spatial dimension. Window ``i`` covers the ``kernel`` elements from
    ``i * stride - padding`` on, ``dilation`` apart; what lies outside of the tensor counts nowhere.
    With ``"max"`` the largest element wins, and NaN over all.

    :param input_size: spatial size of what is reduced.
    :param output_size: spatial size of the result.
    :param finish: evaluated on each reduced element in float32; it has no operand but that.
    """

    reduction: Reduction
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    input_size: tuple[int, ...]
    output_size: tuple[int, ...]
    finish: PointwiseProgram = IDENTITY

    def reduced(self, shape: Shape) -> Shape:
        """The shape of the result for a tensor of ``shape``."""
        return (*shape[:2], *self.output_size)

    def source(self, result: TensorType) -> TensorType:
        """The type of what is reduced to ``result``, in the same layout."""
        return TensorType((*result.shape[:2], *self.input_size), result.dtype, result.layout)

    def __str__(self) -> str:
        def sizes(values: tuple[int, ...]) -> str:
            return "x".join(map(str, values))

        text = f"{self.reduction} of {sizes(self.kernel)}, stride {sizes(self.stride)}"
        if any(self.padding):
            text += f", padding {sizes(self.padding)}"
        if any(step != 1 for step in self.dilation):
            text += f", dilation {sizes(self.dilation)}"
        text += f", {sizes(self.input_size)} to {sizes(self.output_size)}"
        return text if self.finish.is_identity else f"{text}; {self.finish}"
