"""Conversion of ATen convolutions: the operator means the same, or the reason why not is given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fx2ait_conv.converters import CONVERTERS
from fx2ait_conv.operators import Conv2d, Conv2dAttributes
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fx2ait_core.errors import ConversionError
from fx2ait_core.testing.calls import RecordedCall, float32, record_call

small = st.integers(1, 3)


def reference(recorded: RecordedCall, x: torch.Tensor) -> torch.Tensor:
    """What the converted operator computes, by its documentation."""
    (operator,) = recorded.operators
    assert isinstance(operator, Conv2d)
    a = operator.attributes
    assert isinstance(a, Conv2dAttributes)
    weight, *bias = (torch.from_numpy(value.array) for value in operator.operands[1:])  # type: ignore[attr-defined]
    top, bottom, left, right = a.padding
    padded = F.pad(x, (left, right, top, bottom))
    return F.conv2d(padded, weight, *bias, stride=a.stride, dilation=a.dilation, groups=a.groups)


@settings(deadline=None)
@given(
    st.tuples(small, small),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
    st.tuples(small, small),
    st.tuples(small, small),
    st.tuples(small, small, small),
    st.booleans(),
    st.sampled_from(["aten.conv2d.default", "aten.convolution.default"]),
)
def test_any_geometry(stride, padding, dilation, kernel, sizes, with_bias, overload) -> None:  # type: ignore[no-untyped-def]
    groups, per_group, out_per_group = sizes
    generator = np.random.default_rng(hash((stride, padding, kernel, sizes)) % 2**32)
    weight = generator.standard_normal((groups * out_per_group, per_group, *kernel)).astype(np.float32)
    bias = generator.standard_normal(weight.shape[0]).astype(np.float32) if with_bias else None
    shape = (2, groups * per_group, 7, 9)
    assume(all(shape[2 + i] + 2 * padding[i] >= dilation[i] * (kernel[i] - 1) + 1 for i in range(2)))
    geometry = {
        "stride": list(stride),
        "padding": list(padding),
        "dilation": list(dilation),
        "groups": groups,
    }
    extra = {"transposed": False, "output_padding": [0, 0]} if "convolution" in overload else {}
    recorded = record_call(overload, input=float32(*shape), weight=weight, bias=bias, **geometry, **extra)
    result = recorded.convert(CONVERTERS)
    x = torch.from_numpy(generator.standard_normal(shape).astype(np.float32))
    expected = F.conv2d(
        x, torch.from_numpy(weight), None if bias is None else torch.from_numpy(bias), **geometry
    )
    assert result.type.shape == tuple(expected.shape) == recorded.call.result_shape
    torch.testing.assert_close(reference(recorded, x), expected, rtol=1e-4, atol=1e-4)


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.tuples(small, small),
    st.sampled_from(["same", "valid"]),
)
def test_named_padding(kernel, dilation, padding) -> None:  # type: ignore[no-untyped-def]
    weight = np.random.default_rng().standard_normal((4, 3, *kernel)).astype(np.float32)
    x = torch.randn(1, 3, 13, 14)
    recorded = record_call(
        "aten.conv2d.padding",
        input=float32(*x.shape),
        weight=weight,
        padding=padding,
        dilation=list(dilation),
    )
    result = recorded.convert(CONVERTERS)
    expected = F.conv2d(x, torch.from_numpy(weight), padding=padding, dilation=dilation)
    assert result.type.shape == tuple(expected.shape)
    torch.testing.assert_close(reference(recorded, x), expected, rtol=1e-4, atol=1e-4)


WEIGHT = np.zeros((4, 3, 3, 3), np.float32)

DECLINED = {
    "transposed": (
        "aten.convolution.default",
        {"input": float32(1, 4, 8, 8), "transposed": True, "output_padding": [0, 0]},
        "transposed",
    ),
    "3-d": (
        "aten.convolution.default",
        {
            "input": float32(1, 3, 8, 8, 8),
            "weight": np.zeros((4, 3, 3, 3, 3), np.float32),
            "transposed": False,
            "output_padding": [0],
        },
        "3 spatial dimensions",
    ),
    "unbatched": ("aten.conv2d.default", {"input": float32(3, 8, 8)}, "batch dimension"),
    "half weight": ("aten.conv2d.default", {"weight": WEIGHT.astype(np.float16)}, "dtypes must agree"),
    "computed weight": ("aten.conv2d.default", {"weight": float32(4, 3, 3, 3)}, "is computed"),
    "wrong groups": ("aten.conv2d.default", {"groups": 2}, "groups=2"),
    "window too large": ("aten.conv2d.default", {"input": float32(1, 3, 2, 8)}, "does not fit"),
    "strided same": ("aten.conv2d.padding", {"padding": "same", "stride": [2, 2]}, "stride 1"),
}


@pytest.mark.parametrize("case", DECLINED)
def test_declined_with_a_reason(case: str) -> None:
    overload, changed, reason = DECLINED[case]
    common = {"stride": [1, 1], "padding": [0, 0], "dilation": [1, 1], "groups": 1, "bias": None}
    if overload == "aten.conv2d.padding":
        common["padding"] = "valid"
    arguments = {"input": float32(1, 3, 8, 8), "weight": WEIGHT, **common, **changed}
    assert reason in record_call(overload, **arguments).decline(CONVERTERS)


@pytest.mark.parametrize(
    "overload",
    [
        "aten.conv1d.default",
        "aten.conv1d.padding",
        "aten.conv3d.default",
        "aten.conv3d.padding",
        "aten.conv_transpose1d.default",
        "aten.conv_transpose2d.input",
        "aten.conv_transpose3d.input",
    ],
)
def test_other_convolutions_say_why_not(overload: str) -> None:
    recorded = record_call(overload, input=float32(1, 3, 8), weight=np.zeros((3, 3, 3), np.float32))
    reason = recorded.decline(CONVERTERS)
    assert "convolution" in reason
    converter = next(c for c in CONVERTERS if c.overload == overload)
    with pytest.raises(ConversionError, match="convolution"):
        converter.convert(recorded.call)
