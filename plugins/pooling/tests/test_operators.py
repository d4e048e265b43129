"""Shape inference of the pooling operators, and the plugin's conformance."""

from __future__ import annotations

import pytest
from fx2ait_pooling.operators import (
    AdaptiveAvgPool2d,
    AdaptivePoolAttributes,
    AvgPool2d,
    DropSpatial,
    MaxPool2d,
    Mean,
    MeanAttributes,
    Pool2dAttributes,
)

from fx2ait_core.sdk import NO_ATTRIBUTES, IRError, ReducesWindows, WindowReduction, channels_last, row_major
from fx2ait_core.testing.calls import float32
from fx2ait_core.testing.conformance import check_plugin

POOL = Pool2dAttributes((3, 3), (2, 2), (1, 1), (1, 1), (4, 4))
IMAGE = float32(1, 3, 8, 8)


def test_conformance() -> None:
    check_plugin("pooling")


def test_a_maximum_is_a_window_that_others_may_absorb() -> None:
    window = MaxPool2d.window_of([IMAGE], POOL)
    assert window == WindowReduction("max", (3, 3), (2, 2), (1, 1), (1, 1), (8, 8), (4, 4))
    assert MaxPool2d.trait(ReducesWindows) is not None
    assert AvgPool2d.trait(ReducesWindows) is None and AdaptiveAvgPool2d.trait(ReducesWindows) is None


@pytest.mark.parametrize(
    ("operator", "operand", "attributes", "words"),
    [
        (MaxPool2d, float32(3, 8, 8), POOL, r"must be \[N, C, H, W\]"),
        (MaxPool2d, IMAGE, Pool2dAttributes((3, 3), (0, 1), (1, 1), (1, 1), (4, 4)), "stride"),
        (MaxPool2d, IMAGE, Pool2dAttributes((3, 3), (2, 2), (1, 1), (1, 1), (9, 4)), "starts outside"),
        (AdaptiveAvgPool2d, IMAGE, AdaptivePoolAttributes((0, 1)), "at least 1x1"),
        (Mean, IMAGE, MeanAttributes((1, 0), False), "ascending"),
        (Mean, IMAGE, MeanAttributes((4,), False), "dimensions of"),
        (DropSpatial, IMAGE, NO_ATTRIBUTES, r"\[N, C, 1, 1\]"),
    ],
)
def test_operands_that_do_not_fit(operator, operand, attributes, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(IRError, match=words):
        operator.infer([operand], attributes)


@pytest.mark.parametrize("layout", [row_major(4), channels_last(4)])
def test_pooled_pixels_are_dropped_in_any_layout(layout) -> None:  # type: ignore[no-untyped-def]
    pooled = float32(2, 3, 1, 1).with_layout(layout)
    assert DropSpatial.result_layouts([pooled], NO_ATTRIBUTES) == row_major(2)
