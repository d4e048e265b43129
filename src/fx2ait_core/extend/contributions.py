"""What a plugin contributes: frozen records that hooks return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Decline
from ..ir.dims import Dim
from ..ir.operator import Operator
from .problem import Problem

if TYPE_CHECKING:
    from ..ir.graph import Graph
    from ..target.target import Target


@dataclass(frozen=True)
class Converter:
    """Turns calls of one ATen overload into IR.

    :param overload: e.g. ``"aten.relu.default"``.
    :param convert: ``convert(call)`` returns a :class:`~fx2ait_core.ir.value.Value`, or a list of
        them for an overload with several results. ``call`` is a
        :class:`~fx2ait_core.extend.call.Call`.
    :param supports: returns None, or a :class:`Decline` with the reason.
    :param priority: among converters for one overload the highest wins; a tie is an error that
        names both distributions.
    """

    overload: str
    convert: Callable[[Any], Any]
    supports: Callable[[Any], Decline | None] = lambda call: None
    priority: int = 0


@dataclass(frozen=True)
class PointwiseExpression:
    """The scalar C expression of a pointwise operator.

    :param operator: a subclass of :class:`~fx2ait_core.ir.operator.PointwiseOperator`.
    :param expression: C over float32 operands ``{0}``, ``{1}``, …, and attributes by name, which
        are written as float literals, e.g. ``"{0} > 0.0f ? {0} : {negative_slope} * {0}"``.
        ``fx::`` holds branch-free mathematics on every target (exp, log, log1p, tanh, erf, sqrt,
        pow, abs, minimum, maximum, sigmoid). Minimum and maximum keep NaN as PyTorch does.
    :param target: None for all targets, else the name of the one it is written for (preferred).
    """

    operator: type[Operator]
    expression: str
    target: str | None = None


@dataclass(frozen=True)
class Candidate:
    """One way to run a kernel on a problem.

    :param config: a frozen dataclass of what the template varies (tile, stages, …).
    :param estimate_us: predicted microseconds at the problem's sizes; orders candidates, and
        chooses where nothing can be measured.
    """

    config: Any
    estimate_us: float


@dataclass(frozen=True)
class KernelSource:
    """The generated code of a kernel for a problem and a configuration.

    :param text: a whole source file that defines the launcher (see ``docs/kernels.md``).
    :param headers: files that the text includes, by include path, beyond the target's own.
    :param packings: for a constant operand (by position), a function from its array (logical
        shape, source precision) to the array to store, in the dtype and order the kernel reads.
        Operands without one are stored in their type's dtype and layout.
    :param workspace: bytes of scratch memory, zeroed once when the engine is created and
        private to this kernel; a launch must leave zeroed what the next one needs zeroed. An
        expression over the dynamic symbols is enough for launches up to those sizes.
    :param effort: how many times as long as most kernels it takes to compile, a rough figure; kernels
        are compiled together so that processors are equally busy.
    """

    text: str
    headers: Mapping[str, str] = field(default_factory=dict)
    packings: Mapping[int, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)
    workspace: Dim = 0
    effort: int = 1


@dataclass(frozen=True)
class Kernel:
    """A family of implementations of one operator on one target.

    :param name: unique, e.g. ``"conv2d_wgmma"``.
    :param operator: the operator's kind.
    :param target: the target's name.
    :param supports: returns None, or a :class:`Decline` with the reason.
    :param candidates: configurations for a supported problem, at least one.
    :param label: the readable part of the function's name, e.g. ``conv2d_3x3_64x56x56``.
    :param emit: ``emit(name, problem, config)`` writes the source; the launcher is called ``name``.
    :param external_operands: operand positions that may be external (see :class:`OperandSpec`).
    :param absorbs_windows: whether ``supports`` may be asked about a problem with a window; without
        it the kernel never meets one.
    :param revision: raise it when the generated code changes for reasons that its text does
        not show, so that tuned choices are measured again.
    """

    name: str
    operator: str
    target: str
    candidates: Callable[[Problem], Sequence[Candidate]]
    emit: Callable[[str, Problem, Any], KernelSource]
    label: Callable[[Problem, Any], str]
    supports: Callable[[Problem], Decline | None] = lambda problem: None
    external_operands: frozenset[int] = frozenset()
    absorbs_windows: bool = False
    revision: int = 1


@dataclass(frozen=True)
class Pass:
    """A rewrite of the graph.

    :param name: unique; shown by ``--dump-ir`` and used by ``before`` and ``after``.
    :param run: ``run(graph, context)`` edits the graph in place.
    :param before: names of passes that must come later.
    :param after: names of passes that must have come earlier.
    """

    name: str
    run: Callable[[Graph, PassContext], None]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


@dataclass(frozen=True)
class PassContext:
    """What a pass may ask: the target, the precision inside the engine, and the registries."""

    target: Target
    precision: Any
    registry: Any


@dataclass(frozen=True)
class RecipeFolder:
    """A folder of ``*.yaml`` recipes inside the distribution."""

    path: Path
