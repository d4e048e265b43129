"""Conversion of ATen poolings and means: shapes as PyTorch's for any geometry, and what is declined."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from fx2ait_pooling.converters import CONVERTERS
from fx2ait_pooling.operators import AdaptivePoolAttributes, MeanAttributes, Pool2dAttributes
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sympy import Symbol

from fx2ait_core.sdk import DType, tensor_type
from fx2ait_core.testing.calls import RecordedCall, float32, record_call

BATCH = Symbol("batch", integer=True, positive=True)
pair = st.lists(st.integers(1, 4), min_size=1, max_size=2)


def pair_of(values: list[int]) -> tuple[int, int]:
    return values[0], values[-1]


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(
        ["aten.max_pool2d.default", "aten.max_pool2d_with_indices.default", "aten.avg_pool2d.default"]
    ),
    pair,
    st.one_of(st.just([]), pair),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    pair,
    st.booleans(),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
def test_any_geometry(overload, kernel, stride, padding, dilation, ceil_mode, size) -> None:  # type: ignore[no-untyped-def]
    is_average = "avg" in overload
    dilation = [1] if is_average else dilation
    reach = [d * (k - 1) + 1 for d, k in zip(pair_of(dilation), pair_of(kernel), strict=True)]
    assume(all(p <= k // 2 for p, k in zip(padding, pair_of(kernel), strict=True)))
    assume(all(s + 2 * p >= r for s, p, r in zip(size, padding, reach, strict=True)))
    extra = {"count_include_pad": False, "divisor_override": 3} if is_average else {"dilation": dilation}
    recorded = record_call(
        overload,
        self=float32(2, 3, *size),
        kernel_size=kernel,
        stride=stride,
        padding=list(padding),
        ceil_mode=ceil_mode,
        **extra,
    )
    results = recorded.convert(CONVERTERS)
    result = results[0] if isinstance(results, list) else results
    operation = getattr(torch.ops.aten, overload.split(".")[1]).default
    arguments = [kernel, stride, list(padding)]
    if is_average:
        expected = operation(torch.zeros(2, 3, *size), *arguments, ceil_mode)
    else:
        expected = operation(torch.zeros(2, 3, *size), *arguments, dilation, ceil_mode)
    expected = expected[0] if isinstance(expected, tuple) else expected
    assert result.type.shape == tuple(expected.shape)
    (operator,) = recorded.operators
    attributes = operator.attributes
    assert isinstance(attributes, Pool2dAttributes)
    assert attributes.kernel == pair_of(kernel)
    assert attributes.stride == (pair_of(stride) if stride else pair_of(kernel))
    assert attributes.padding == padding
    if is_average:
        assert (attributes.count_include_pad, attributes.divisor_override) == (False, 3)
    else:
        assert attributes.dilation == pair_of(dilation)
    if "indices" in overload:
        assert results[1] is None


@pytest.mark.parametrize("size", [[1, 1], [3, 5], [7, 7]])
@pytest.mark.parametrize("name", ["adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d"])
def test_adaptive(name: str, size: list[int]) -> None:
    recorded = record_call(f"aten.{name}.default", self=float32(BATCH, 3, 9, 4), output_size=size)
    results = recorded.convert(CONVERTERS)
    result = results[0] if isinstance(results, list) else results
    assert result.type.shape == (BATCH, 3, *size)
    assert recorded.operators[0].kind == (
        "pooling.adaptive_max_pool2d" if "max" in name else "pooling.adaptive_avg_pool2d"
    )
    assert recorded.operators[0].attributes == AdaptivePoolAttributes((size[0], size[1]))


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.data(), st.booleans())
def test_mean_over_any_dimensions(shape: list[int], data: st.DataObject, keepdim: bool) -> None:
    rank = len(shape)
    dims = data.draw(
        st.one_of(st.none(), st.lists(st.integers(-rank, rank - 1), unique_by=lambda d: d % rank))
    )
    recorded = record_call("aten.mean.dim", self=float32(*shape), dim=dims, keepdim=keepdim)
    result = recorded.convert(CONVERTERS)
    expected = torch.zeros(shape).mean(dims, keepdim)
    assert result.type.shape == tuple(expected.shape)


def test_mean_of_all() -> None:
    recorded = record_call("aten.mean.default", self=float32(2, 3))
    assert recorded.convert(CONVERTERS).type.shape == ()
    assert recorded.operators[0].attributes == MeanAttributes((0, 1), False)


@pytest.mark.parametrize("keepdim", [False, True])
def test_mean_over_pixels_is_a_pooling(keepdim: bool) -> None:
    recorded = record_call("aten.mean.dim", self=float32(BATCH, 8, 7, 7), dim=[-1, -2], keepdim=keepdim)
    result = recorded.convert(CONVERTERS)
    assert result.type.shape == ((BATCH, 8, 1, 1) if keepdim else (BATCH, 8))
    assert recorded.operators[0].kind == "pooling.adaptive_avg_pool2d"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("max_pool2d_with_indices", {"kernel_size": [2]}), ("adaptive_max_pool2d", {"output_size": [2, 2]})],
)
def test_indices_that_are_read_are_declined(name: str, arguments: dict[str, Any]) -> None:
    recorded = record_call(f"aten.{name}.default", self=float32(1, 3, 8, 8), **arguments)
    recorded.convert(CONVERTERS)
    read = RecordedCall(replace(recorded.call, results_read=frozenset({0, 1})), recorded.graph)
    assert "indices" in read.decline(CONVERTERS)


IMAGE = float32(1, 3, 8, 8)
DECLINED: dict[str, tuple[str, dict[str, Any], str]] = {
    "unbatched": (
        "aten.max_pool2d.default",
        {"self": float32(3, 8, 8), "kernel_size": [2]},
        "batch dimension",
    ),
    "dynamic size": (
        "aten.avg_pool2d.default",
        {"self": float32(1, 3, Symbol("h"), 8), "kernel_size": [2]},
        "only the batch",
    ),
    "integers": (
        "aten.max_pool2d.default",
        {"self": tensor_type((1, 3, 8, 8), DType.int64), "kernel_size": [2]},
        "floating point",
    ),
    "too large": ("aten.max_pool2d.default", {"self": IMAGE, "kernel_size": [9]}, "does not fit"),
    "wide padding": (
        "aten.max_pool2d.default",
        {"self": IMAGE, "kernel_size": [2], "padding": [2]},
        "more than half",
    ),
    "divisor 0": (
        "aten.avg_pool2d.default",
        {"self": IMAGE, "kernel_size": [2], "divisor_override": 0},
        "must not be 0",
    ),
    "dynamic output": (
        "aten.adaptive_avg_pool2d.default",
        {"self": IMAGE, "output_size": [Symbol("s"), 1]},
        "must be numbers",
    ),
    "dynamic mean": ("aten.mean.dim", {"self": float32(BATCH, 3), "dim": [0]}, "dynamic dimension batch"),
    "other dtype": ("aten.mean.default", {"self": IMAGE, "dtype": torch.float64}, "stays float32"),
}


@pytest.mark.parametrize("case", DECLINED)
def test_declined_with_a_reason(case: str) -> None:
    overload, arguments, reason = DECLINED[case]
    assert reason in record_call(overload, **arguments).decline(CONVERTERS)
