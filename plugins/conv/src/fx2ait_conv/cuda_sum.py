"""``conv2d_sum_wgmma``: two convolutions summed in one accumulator, by the kernel of ``conv2d_wgmma``.

The sum of the second convolution simply continues that of the first: its steps come after them.
"""

from __future__ import annotations

from fx2ait_core.sdk import Decline, DType, Kernel, Operator, Problem, Target

from .cuda_hopper import DTYPES, device_decline
from .cuda_shape import ConvShape
from .cuda_wgmma import candidates, emit, shape_decline, supports


def serves(first: Operator, second: Operator, target: Target, precision: DType) -> Decline | None:
    """None, or why the sum of two ``conv.conv2d`` is better left as it is; asked before layouts and
    precision are assigned."""
    if declined := device_decline(target):
        return declined
    if precision not in DTYPES:
        return Decline(f"computes in {' or '.join(map(str, DTYPES))}, not {precision}")
    for term in (first, second):
        source, weight = (operand.type for operand in term.operands[:2])
        if declined := shape_decline(ConvShape.between(source, weight, term.result.type, term.attributes)):
            return declined
    return None


def _label(problem: Problem, config: object) -> str:
    first, second = ConvShape.terms(problem)
    return f"{first.label('conv2d_sum')}_with_{second.window}_{second.channels}"


CONV2D_SUM_WGMMA = Kernel(
    name="conv2d_sum_wgmma",
    operator="conv.conv2d_sum",
    target="cuda",
    supports=supports,
    candidates=candidates,
    label=_label,
    emit=emit,
)
