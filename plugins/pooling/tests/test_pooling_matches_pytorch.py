"""Pooling over the whole argument range, compared with PyTorch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from fx2ait_core.testing.matching import TARGETS, Case, assert_matches_pytorch

PER_BENCH = 20


@st.composite
def pools(draw: st.DrawFn) -> Case:
    channels = draw(st.sampled_from([1, 3, 8, 16, 20]))
    kernel = (draw(st.integers(1, 5)), draw(st.integers(1, 5)))
    stride = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    padding = (draw(st.integers(0, kernel[0] // 2)), draw(st.integers(0, kernel[1] // 2)))
    ceil_mode = draw(st.booleans())
    dilation = (1, 1)
    layer: nn.Module
    kind = draw(st.sampled_from(["max", "avg", "adaptive_avg", "adaptive_max"]))
    if kind == "max":
        dilation = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
        layer = nn.MaxPool2d(kernel, stride, padding, dilation, ceil_mode=ceil_mode)
    elif kind == "avg":
        divisor = draw(st.sampled_from([None, None, 3]))
        layer = nn.AvgPool2d(kernel, stride, padding, ceil_mode, draw(st.booleans()), divisor)
    else:
        size = (draw(st.integers(1, 6)), draw(st.integers(1, 6)))
        layer = nn.AdaptiveAvgPool2d(size) if kind == "adaptive_avg" else nn.AdaptiveMaxPool2d(size)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    sizes = [max(1, r - 2 * p) + draw(st.integers(0, 12)) for r, p in zip(reach, padding, strict=True)]
    if draw(st.booleans()):
        layer = nn.Sequential(nn.Conv2d(channels, channels, 1), layer, nn.SiLU())
    return Case(layer, ((1, channels, *sizes),))


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@given(cases=st.lists(pools(), min_size=PER_BENCH, max_size=PER_BENCH), channels_last=st.booleans())
@settings(max_examples=3, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_pools_match_pytorch(target: str, cases: list[Case], channels_last: bool) -> None:
    assert_matches_pytorch(cases, target=target, channels_last=channels_last)


class Mean(nn.Module):
    def __init__(self, dims: tuple[int, ...], keepdim: bool) -> None:
        super().__init__()
        self.dims, self.keepdim = dims, keepdim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.mean(x * 2, self.dims, self.keepdim)


@pytest.mark.parametrize("target", TARGETS)
def test_means_match_pytorch(target: str) -> None:
    dims = [(1,), (2,), (3,), (-1,), (2, 3), (1, 3), (1, 2, 3), (-2, -1)]
    cases = [Case(Mean(d, keepdim), ((1, 8, 5, 6),)) for d in dims for keepdim in (False, True)]
    assert_matches_pytorch(cases, target=target)


@pytest.mark.parametrize("target", TARGETS)
def test_maxima_keep_nan_as_pytorch_does(target: str) -> None:
    def with_nan(shape: tuple[int, ...]) -> torch.Tensor:
        x = torch.randn(shape)
        x[0, 0, 1, 1] = float("nan")
        x[0, 1] = -float("inf")
        return x

    cases = [
        Case(nn.MaxPool2d(3, 2, 1), ((1, 8, 7, 7),), with_nan),
        Case(nn.AdaptiveMaxPool2d(2), ((1, 8, 7, 7),), with_nan),
    ]
    assert_matches_pytorch(cases, target=target)
