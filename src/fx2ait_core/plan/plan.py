"""The plan: everything that is decided before code is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..extend.contributions import KernelSource
from ..extend.problem import Problem
from ..ir.dims import DimRange
from ..ir.types import TensorType
from ..target.target import Target
from .work import Work

Space = Literal["input", "output", "arena", "constant"]


@dataclass(frozen=True)
class Location:
    """Where a tensor lives: an input or output by index, the arena or the constants by byte offset."""

    space: Space
    position: int


@dataclass(frozen=True)
class Port:
    """An input or output of the engine. Inputs are taken in any float dtype and layout."""

    name: str
    type: TensorType


@dataclass(frozen=True)
class PlannedKernel:
    """A distinct kernel: one source file, one launcher called ``name``."""

    name: str
    kernel: str
    distribution: str
    config: str
    choice: Literal["measured", "cached", "heuristic"]
    source: KernelSource
    problem: Problem


@dataclass(frozen=True)
class Launch:
    """One call of a kernel.

    ``results`` and ``operands`` (epilogue operands last) are in the order of the launcher's
    parameters; ``node`` names what it computes in the user's model.

    :param work: what the launch has to do at least, for reports.
    """

    kernel: str
    node: str
    description: str
    results: tuple[Location, ...]
    operands: tuple[Location, ...]
    workspace: Location | None
    work: Work = field(default_factory=Work)


@dataclass(frozen=True)
class MemoryReport:
    """Bytes of activations: the arena, the sum without reuse, and the liveness lower bound."""

    arena: int
    sum_of_activations: int
    lower_bound: int
    workspace: int


@dataclass(frozen=True)
class BucketPlan:
    """Launches for sizes up to ``sizes`` (one entry per dynamic symbol, empty when static)."""

    sizes: tuple[tuple[str, int], ...]
    launches: tuple[Launch, ...]
    memory: MemoryReport


@dataclass(frozen=True)
class PackedConstant:
    """A constant as the kernels read it; ``offset`` counts bytes from the start of all constants."""

    name: str
    array: np.ndarray
    offset: int


@dataclass(frozen=True)
class Plan:
    """What emission writes. Buckets are sorted by size; the arena serves the largest."""

    name: str
    target: Target
    precision: str
    symbols: tuple[tuple[str, DimRange], ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    kernels: tuple[PlannedKernel, ...]
    constants: tuple[PackedConstant, ...]
    buckets: tuple[BucketPlan, ...]
    plugins: tuple[tuple[str, str], ...]

    @property
    def arena_bytes(self) -> int:
        """Activations and workspaces of the largest bucket; workspaces come first, from offset 0."""
        return max((b.memory.arena + b.memory.workspace for b in self.buckets), default=0)

    @property
    def workspace_bytes(self) -> int:
        """Bytes at the start of the arena that the engine zeroes once."""
        return max((b.memory.workspace for b in self.buckets), default=0)

    @property
    def constant_bytes(self) -> int:
        return max((c.offset + c.array.nbytes for c in self.constants), default=0)
