"""Traits: what a pass may know of an operator without knowing its name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trait:
    """Base of all traits; an operator class lists instances in ``traits``."""


@dataclass(frozen=True)
class Pointwise(Trait):
    """Each result element is a scalar expression of the operands' elements, with broadcasting."""


@dataclass(frozen=True)
class Epilogue(Trait):
    """The kernels of this operator evaluate a pointwise program on each result before storing it.

    Extra operands may have the result's shape, be constant over all but the channel
    (dimension 1, or the last one below rank 3), or be a single element.
    """


@dataclass(frozen=True)
class ReducesWindows(Trait):
    """Each result element reduces a window of operand 0, as ``Operator.window_of`` describes."""


@dataclass(frozen=True)
class AbsorbsWindows(Trait):
    """Kernels of this operator may reduce windows of its result, after the epilogue, before storing it.

    Which kernels do, and for which problems, their records say (``Kernel.absorbs_windows`` and
    ``Kernel.supports``); only what one of them takes is absorbed.
    """


@dataclass(frozen=True)
class AffineChannels(Trait):
    """Scaling and shifting result channel ``c`` equals scaling slice ``c`` of the weight
    and shifting the bias.

    ``weight`` and ``bias`` are operand positions; the bias may be absent. ``weight_axis`` is
    the dimension of the weight that runs over result channels.
    """

    weight: int = 1
    bias: int = 2
    weight_axis: int = 0


@dataclass(frozen=True)
class View(Trait):
    """The result is operand 0's memory under another logical shape; no code is run.

    ``requires_row_major`` asks the layout pass for a row-major operand (e.g. reshape);
    otherwise the operator derives its result layout from its operand's.
    """

    requires_row_major: bool = False


@dataclass(frozen=True)
class ChannelsLast(Trait):
    """Kernels read ``operands`` (and write all results) with channels fastest in memory."""

    operands: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class RowMajor(Trait):
    """Kernels read all operands and write all results row-major."""
