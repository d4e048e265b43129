"""The core's only operator: a pointwise program over broadcast operands.

It is what pointwise operators of all plugins are fused into. With the identity program it
copies, and so converts dtype and layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from .operator import Attributes, Operator, broadcast
from .pointwise import PointwiseProgram
from .types import TensorType, tensor_type


@dataclass(frozen=True)
class ProgramAttributes(Attributes):
    """The program; its inputs are the operands in order."""

    program: PointwiseProgram


class FusedPointwise(Operator):
    """``result[i] = program(operand0[i], operand1[i], …)`` in float32, operands broadcast.

    Operands and result may differ in dtype and layout.
    """

    kind = "core.pointwise"
    operand_names = ("input",)

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: Any) -> tuple[TensorType, ...]:
        return (tensor_type(broadcast(*(o.shape for o in operands)), operands[0].dtype),)
