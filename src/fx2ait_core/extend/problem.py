"""What a kernel is asked to compute: one operator with its types, apart from any graph."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ..ir.dims import Dim, DimRange, Shape, evaluate
from ..ir.operator import Attributes
from ..ir.pointwise import PointwiseProgram
from ..ir.types import TensorType
from ..ir.window import WindowReduction
from ..target.target import Target


@lru_cache(maxsize=4096)
def _evaluated(dim: Dim, sizes: tuple[tuple[str, int], ...]) -> int:
    return evaluate(dim, dict(sizes))


@dataclass(frozen=True)
class OperandSpec:
    """One operand as a kernel sees it.

    ``constant``: known ahead of time, so the kernel may ask for any packing of it.
    ``external``: given by the caller; dtype (float32, float16, bfloat16) and strides are known
    only at run time, and the kernel receives an ``fx2ait::ExternalTensor``.
    """

    name: str
    type: TensorType
    constant: bool = False
    external: bool = False


@dataclass(frozen=True)
class Problem:
    """An operator on a target. Equal problems are served by the same kernel source.

    ``sizes`` binds each dynamic symbol to the size that the kernel is chosen for; generated
    code must be right for every size in ``symbols`` all the same. ``window``, if any, is applied to
    what the operator computes, after the epilogue; then ``results`` holds what it reduces to.
    """

    kind: str
    attributes: Attributes
    operands: tuple[OperandSpec, ...]
    epilogue: PointwiseProgram
    epilogue_operands: tuple[OperandSpec, ...]
    results: tuple[TensorType, ...]
    target: Target
    symbols: tuple[tuple[str, DimRange], ...] = ()
    sizes: tuple[tuple[str, int], ...] = field(default=(), compare=False)
    window: WindowReduction | None = None

    @property
    def result(self) -> TensorType:
        return self.results[0]

    @property
    def computed(self) -> TensorType:
        """The type of what the operator itself computes: the result's, or what the window reduces."""
        return self.result if self.window is None else self.window.source(self.result)

    @property
    def bindings(self) -> Mapping[str, int]:
        return dict(self.sizes)

    def size(self, dim: Dim) -> int:
        """``dim`` at the sizes that the kernel is chosen for."""
        return dim if isinstance(dim, int) else _evaluated(dim, self.sizes)

    def shape(self, shape: Shape) -> tuple[int, ...]:
        return tuple(self.size(dim) for dim in shape)

    def operand(self, name: str) -> OperandSpec | None:
        """The operand called ``name``, or None when it was left out."""
        return next((operand for operand in self.operands if operand.name == name), None)

    @property
    def identity(self) -> str:
        """Everything that the generated code depends on, as text; sizes are not part of it."""
        parts: list[Any] = [self.kind, self.attributes, *self.operands, self.epilogue, self.window]
        parts += [*self.epilogue_operands, *self.results, self.target.name, self.target.arch]
        return "; ".join(map(repr, parts))

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.identity.encode()).hexdigest()
