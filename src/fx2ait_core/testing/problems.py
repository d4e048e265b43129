"""Problems for kernels, made by hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from ..extend.problem import OperandSpec, Problem
from ..ir.dims import DimRange
from ..ir.dtypes import DType
from ..ir.layouts import channels_last, row_major
from ..ir.operator import NO_ATTRIBUTES, Attributes, Operator
from ..ir.pointwise import PointwiseProgram, PointwiseStep
from ..ir.traits import ChannelsLast
from ..ir.types import TensorType, tensor_type
from ..ir.window import WindowReduction
from ..target.target import Target


def problem(
    operator: type[Operator],
    operands: Sequence[TensorType],
    attributes: Attributes = NO_ATTRIBUTES,
    *,
    target: Target,
    constants: Collection[int] = (),
    externals: Collection[int] = (),
    epilogue: PointwiseProgram | None = None,
    epilogue_operands: Sequence[TensorType] = (),
    result_dtype: DType | None = None,
    symbols: Mapping[str, DimRange] | None = None,
    sizes: Mapping[str, int] | None = None,
    window: WindowReduction | None = None,
) -> Problem:
    """What a kernel of ``operator`` would be asked, with the layouts that its traits ask for.

    :param operands: logical shapes and dtypes; for an operator with ``ChannelsLast`` the operands
        named there become channels-last, unless they are external, and so do all results.
    :param constants: positions of operands known ahead of time.
    :param externals: positions of operands that the caller gives.
    :param epilogue: default: the sum of result and ``epilogue_operands``.
    :param epilogue_operands: one of the result's shape takes the result's layout.
    :param result_dtype: where it differs from the first operand's.
    :param window: what reduces the operator's own result.
    :param sizes: the sizes to choose for, by symbol (default: the largest).

    Raises :class:`~fx2ait_core.errors.IRError` when the operands do not fit the operator.
    """
    last = operator.trait(ChannelsLast)

    def laid_out(type: TensorType, channel_fastest: bool) -> TensorType:
        return type.with_layout(channels_last(type.rank) if channel_fastest else row_major(type.rank))

    types = [
        laid_out(type, last is not None and index in last.operands and index not in externals)
        if last is not None
        else type
        for index, type in enumerate(operands)
    ]
    results = tuple(
        laid_out(result, last is not None).with_dtype(result_dtype or result.dtype)
        for result in operator.infer(types, attributes)
    )
    names = list(operator.operand_names)
    names += [f"operand{index}" for index in range(len(names), len(types))]
    extras = [
        type.with_layout(results[0].layout) if type.shape == results[0].shape else type
        for type in epilogue_operands
    ]
    if window is not None:
        results = tuple(tensor_type(window.reduced(r.shape), r.dtype, r.layout) for r in results)
    symbols = symbols or {}
    chosen = {name: bounds.max for name, bounds in symbols.items()} | dict(sizes or {})
    return Problem(
        kind=operator.kind,
        attributes=attributes,
        operands=tuple(
            OperandSpec(names[i], type, constant=i in constants, external=i in externals)
            for i, type in enumerate(types)
        ),
        epilogue=epilogue or _sum(1 + len(extras)),
        epilogue_operands=tuple(OperandSpec(f"e{i}", type) for i, type in enumerate(extras)),
        results=results,
        target=target,
        symbols=tuple(sorted(symbols.items())),
        sizes=tuple(sorted(chosen.items())),
        window=window,
    )


def _sum(count: int) -> PointwiseProgram:
    slots = [0, *range(count, 2 * count - 2)]
    steps = [
        PointwiseStep("core.add", "{0} + {1}", (slot, i)) for i, slot in enumerate(slots[: count - 1], 1)
    ]
    return PointwiseProgram(count, tuple(steps))
