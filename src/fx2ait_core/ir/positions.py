"""How much of a tensor sliding windows read."""

from __future__ import annotations

from .dims import Dim


def positions_read(
    size: Dim, outputs: Dim, window: int, *, stride: int = 1, dilation: int = 1, padding: int = 0
) -> Dim:
    """Distinct positions of an axis that windows touch; fewer than ``size`` where strides leap over some.

    Window ``o`` of ``outputs`` touches ``o * stride - padding + k * dilation`` for ``k < window``; positions
    outside the axis do not count. A dynamic axis counts in full.

    >>> positions_read(56, 28, 1, stride=2)
    28
    """
    if not isinstance(size, int) or not isinstance(outputs, int):
        return size
    if dilation == 1 and stride <= window:  # without gaps
        first, last = -padding, (outputs - 1) * stride - padding + window - 1
        return max(0, min(last, size - 1) - max(first, 0) + 1)
    touched = {o * stride - padding + k * dilation for o in range(outputs) for k in range(window)}
    return sum(0 <= position < size for position in touched)
