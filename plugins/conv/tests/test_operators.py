"""Shape inference of the convolution operator, and the plugin's conformance."""

from __future__ import annotations

import pytest
from fx2ait_conv.operators import Conv2d, Conv2dAttributes
from sympy import Symbol

from fx2ait_core.sdk import DType, IRError, evaluate, tensor_type
from fx2ait_core.testing.calls import float32
from fx2ait_core.testing.conformance import check_plugin

WEIGHT = float32(8, 3, 3, 3)
PADDED = Conv2dAttributes(stride=(2, 2), padding=(1, 1, 1, 1))


def test_conformance() -> None:
    check_plugin("conv")


def test_the_batch_may_be_dynamic() -> None:
    batch = Symbol("batch", integer=True, positive=True)
    (result,) = Conv2d.infer([float32(batch, 3, 224, 224), WEIGHT], PADDED)
    assert result.shape == (batch, 8, 112, 112)


def test_spatial_dimensions_may_be_dynamic() -> None:
    height = Symbol("height", integer=True, positive=True)
    (result,) = Conv2d.infer([float32(1, 3, height, 32), WEIGHT], PADDED)
    for size in range(1, 40):
        assert evaluate(result.shape[2], {"height": size}) == (size - 1) // 2 + 1


def test_the_result_has_the_input_dtype() -> None:
    half = tensor_type((1, 3, 8, 8), DType.float16)
    assert Conv2d.infer([half, WEIGHT], PADDED)[0].dtype is DType.float16


@pytest.mark.parametrize(
    ("operands", "attributes", "words"),
    [
        ([float32(1, 3, 8, 8)], PADDED, "1 operands"),
        ([float32(3, 8, 8), WEIGHT], PADDED, "4 dimensions"),
        ([float32(1, 4, 8, 8), WEIGHT], PADDED, "has 4 channels"),
        ([float32(1, 3, 8, 8), WEIGHT, float32(7)], PADDED, "bias"),
        ([float32(1, 3, 2, 8), WEIGHT], Conv2dAttributes(), "does not fit"),
        ([float32(1, 3, 8, 8), WEIGHT], Conv2dAttributes(stride=(0, 1)), "at least 1"),
        ([float32(1, 3, 8, 8), WEIGHT], Conv2dAttributes(padding=(0, -1, 0, 0)), "negative"),
        ([float32(1, 9, 8, 8), WEIGHT], Conv2dAttributes(groups=3), "does not divide"),
        ([float32(1, Symbol("c"), 8, 8), WEIGHT], PADDED, "static"),
    ],
)
def test_operands_that_do_not_fit(operands, attributes, words) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(IRError, match=words):
        Conv2d.infer(operands, attributes)
