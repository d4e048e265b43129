"""``conv2d_strip``'s own code, run on the CPU: fresh random convolutions, pooled or not, against PyTorch."""

from __future__ import annotations

import math
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from cuda_problems import convolution, max_window
from emulated_cuda import AVAILABLE, HALVED_LESS_ONE, EmulatedKernel
from fx2ait_conv import cuda_strip
from fx2ait_conv.cuda_strip_tile import Tile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cuda_emulated import FORMS, HALVES, check

from fx2ait_core.sdk import DType, IRError, PointwiseProgram

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not AVAILABLE, reason="the emulation needs g++ on x86-64"),
]
some = settings(
    max_examples=16, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
(STRIP,) = cuda_strip.KERNELS


@st.composite
def geometries(draw: st.DrawFn) -> dict[str, Any]:
    """Windows of 1 to 11, strides to 4, some dilation, whose result has at least 2 rows and columns."""
    kernel = draw(st.integers(1, 11)), draw(st.integers(1, 11))
    dilation = draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2), (3, 2)]))
    stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    padding = tuple(draw(st.integers(0, 5)) for _ in range(4))
    size = []
    for axis in range(2):
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        least = max(1, reach + stride[axis] - padding[2 * axis] - padding[2 * axis + 1])
        size.append(least + draw(st.integers(0, (14, 90)[axis])))
    if draw(st.booleans()):
        size[1] += -size[1] % 4  # rows that can be prefetched
    return {"size": tuple(size), "kernel": kernel, "stride": stride, "padding": padding, "dilation": dilation}


@st.composite
def windows(draw: st.DrawFn) -> dict[str, Any]:
    kernel = draw(st.sampled_from([(3, 3), (2, 2), (3, 2), (1, 3), (2, 3), (1, 1)]))
    return {
        "kernel": kernel,
        "stride": (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        "padding": tuple(draw(st.integers(0, size // 2)) for size in kernel),
        "finish": draw(st.sampled_from([PointwiseProgram(1), HALVED_LESS_ONE])),
    }


@some
@given(
    st.data(), st.integers(1, 8), st.sampled_from([1, 6, 16, 24, 40, 64, 72]), HALVES,
    st.booleans(), st.booleans(), st.booleans(), st.integers(),
)  # fmt: skip
def test_strip(
    data: st.DataObject,
    channels: int,
    out_channels: int,
    dtype: DType,
    external: bool,
    pooled: bool,
    residual: bool,
    seed: int,
) -> None:
    geometry = data.draw(geometries())
    window = partial(max_window, **data.draw(windows())) if pooled else None
    try:
        problem = convolution(
            channels, out_channels=out_channels, dtype=dtype, external=external, window=window,
            residual=residual, result=data.draw(st.sampled_from([None, DType.float32])), **geometry,
        )  # fmt: skip
    except (ValueError, IRError):
        return
    if min(int(dim) for dim in problem.result.shape[2:]) < 1 or STRIP.supports(problem) is not None:
        return
    tiles = list(cuda_strip._fitting(problem))
    form = data.draw(st.sampled_from(FORMS)) if external else None
    check(STRIP, problem, data.draw(st.sampled_from(tiles)), seed % 2**32, form, batch=2)


@some
@given(
    st.data(), st.integers(1, 8), st.integers(1, 4), st.sampled_from([16, 30, 64, 96]),
    HALVES, st.booleans(), st.booleans(), st.integers(),
)  # fmt: skip
def test_planes(
    data: st.DataObject,
    channels: int,
    stride: int,
    out_channels: int,
    dtype: DType,
    external: bool,
    pooled: bool,
    seed: int,
) -> None:
    """On wgmma: windows of even columns and of odd ones, one or two chunks wide; products are formed as
    late or as early as may be."""
    geometry = data.draw(geometries())
    geometry["stride"] = (geometry["stride"][0], stride)
    geometry["dilation"] = (geometry["dilation"][0], 1)
    window = partial(max_window, **data.draw(windows())) if pooled else None
    try:
        problem = convolution(
            channels, out_channels=out_channels, dtype=dtype, external=external, window=window,
            residual=not pooled, **geometry,
        )  # fmt: skip
    except (ValueError, IRError):
        return
    if min(int(dim) for dim in problem.result.shape[2:]) < 1 or STRIP.supports(problem) is not None:
        return
    tiles = [tile for tile in cuda_strip._fitting(problem) if tile.wgmma]
    if tiles:
        form = data.draw(st.sampled_from(FORMS)) if external else None
        check(STRIP, problem, data.draw(st.sampled_from(tiles)), seed % 2**32, form, batch=2)


@pytest.mark.parametrize("wgmma", [False, True])
@pytest.mark.parametrize("odd", [float("inf"), float("nan"), 1e6])
def test_what_is_not_finite_stays_where_it_belongs(wgmma: bool, odd: float) -> None:
    """Padding of k never multiplies zero by a neighbour's infinity, nor by what became infinite."""
    problem = convolution(
        3, (60, 40), 64, (7, 7), external=True, stride=(2, 2), padding=(3, 3, 3, 3), residual=False,
        window=max_window,
    )  # fmt: skip
    source = torch.zeros(1, 3, 60, 40)
    source[0, 1, 41, 9] = odd
    weight = torch.ones(64, 3, 7, 7)
    with tempfile.TemporaryDirectory() as folder:
        run = EmulatedKernel(STRIP, problem, Tile(4, 64, 2, 8, wgmma), Path(folder))
        found = run(source, weight, torch.zeros(64))
    touched = torch.nn.functional.conv2d((source != 0).float(), weight, None, 2, 3) > 0
    expected = torch.nn.functional.max_pool2d(touched.float(), 3, 2, 1) > 0
    assert torch.equal(~torch.isfinite(found), expected)
    assert torch.equal(torch.isnan(found), expected & math.isnan(odd))
