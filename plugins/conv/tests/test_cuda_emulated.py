"""The CUDA kernels' own code, run on the CPU: fresh random convolutions against PyTorch."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cuda_problems import convolution
from emulated_cuda import AVAILABLE, EmulatedKernel, reference
from fx2ait_conv import cuda_depthwise, cuda_gather, cuda_mma, cuda_simt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fx2ait_core.sdk import DType, Kernel, Problem

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not AVAILABLE, reason="the emulation needs g++ on x86-64"),
]
few = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
LIMITS = {DType.float16: 6e-4, DType.bfloat16: 5e-3, DType.float32: 2e-6}
HALVES = st.sampled_from([DType.float16, DType.bfloat16])
SMALL = st.integers(1, 3)


@st.composite
def geometries(draw: st.DrawFn, groups: int = 1) -> dict[str, Any]:
    """Sizes, windows, strides, paddings and dilations whose result is not empty."""
    kernel = draw(SMALL), draw(st.integers(1, 5))
    dilation = draw(SMALL), draw(SMALL)
    padding = tuple(draw(st.integers(0, 3)) for _ in range(4))
    reach = [dilation[axis] * (kernel[axis] - 1) + 1 for axis in range(2)]
    size = tuple(
        draw(st.integers(max(1, reach[axis] - padding[2 * axis] - padding[2 * axis + 1]), 14))
        for axis in range(2)
    )
    stride = draw(SMALL), draw(SMALL)
    return {
        "size": size,
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
    }


def check(
    kernel: Kernel, problem: Problem, config: Any, seed: int, source: Any = None, batch: int = 3
) -> None:
    """The kernel agrees with PyTorch at another batch than it was chosen for, launched twice."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    def stored(tensor: torch.Tensor, dtype: DType) -> torch.Tensor:
        return tensor.to(getattr(torch, dtype.value)).contiguous(memory_format=torch.channels_last)

    dtype = problem.operands[1].type.dtype
    _, channels, *size = problem.operands[0].type.shape
    weight = random(*(int(dim) for dim in problem.operands[1].type.shape))
    weight /= weight[0].numel() ** 0.5
    with tempfile.TemporaryDirectory() as folder:
        run = EmulatedKernel(kernel, problem, config, Path(folder))
        for images in (batch, 1):
            given_source = random(images, int(channels), *(int(dim) for dim in size))
            given_source = source(given_source) if source else stored(given_source, dtype)
            result_shape = images, *(int(dim) for dim in problem.computed.shape[1:])
            extras = [random(result_shape[1])]
            if len(problem.epilogue_operands) > 1:
                extras.append(stored(random(*result_shape), dtype))
            found = run(given_source, weight, *extras).double()
            # Depthwise weights stay in float32; the simt kernel computes in float32 throughout.
            exact = kernel.name in ("conv2d_simt", "conv2d_depthwise")
            expected = reference(
                problem,
                (given_source, weight, *extras),
                torch.float32 if exact else getattr(torch, dtype.value),
            )
            magnitude = max(float(expected.norm()), 1e-6)
            if problem.window is not None and not problem.window.finish.is_identity:
                # Values are about 1 before what ends a window, which may leave nearly 0 of them.
                magnitude = max(magnitude, expected.numel() ** 0.5)
            error = float((found - expected).norm()) / magnitude
            assert error < LIMITS[problem.result.dtype], f"relative error {error:.2g} with {images} images"


@few
@given(
    st.data(), st.sampled_from(cuda_mma.TILES), st.sampled_from([(1, 8), (1, 24), (1, 64), (2, 16), (4, 4)]),
    st.sampled_from([1, 3, 8, 20]), st.sampled_from([1, 1, 2, 5]), HALVES, st.integers(),
)  # fmt: skip
def test_mma(
    data: st.DataObject,
    tile: cuda_mma.Tile,
    groups: tuple[int, int],
    per_group: int,
    splits: int,
    dtype: DType,
    seed: int,
) -> None:
    count, channels = groups
    geometry = data.draw(geometries(count))
    problem = convolution(count * channels, out_channels=count * per_group, dtype=dtype, **geometry)
    merged = next(m for m in (1, 2) if channels * m % 8 == 0)
    config = replace(tile, splits=splits, merged=merged)
    if config.splits > -(-geometry["kernel"][0] * geometry["kernel"][1] * channels * merged // tile.depth):
        config = replace(config, splits=1)
    check(cuda_mma.KERNELS[0], problem, config, seed % 2**32)


@few
@given(
    st.data(), st.sampled_from([(1, 1), (1, 3), (1, 37), (3, 2), (2, 5)]), st.sampled_from([1, 6, 40]),
    HALVES, st.booleans(), st.integers(),
)  # fmt: skip
def test_gather(
    data: st.DataObject, groups: tuple[int, int], per_group: int, dtype: DType, external: bool, seed: int
) -> None:
    count, channels = groups
    problem = convolution(
        count * channels,
        out_channels=count * per_group,
        dtype=dtype,
        external=external,
        **data.draw(geometries(count)),
    )
    kernel = cuda_gather.KERNELS[0]
    config = data.draw(st.sampled_from(list(kernel.candidates(problem)))).config
    check(kernel, problem, config, seed % 2**32, data.draw(st.sampled_from(FORMS)) if external else None)


FORMS = [
    lambda x: x,
    lambda x: x.half(),
    lambda x: x.bfloat16(),
    lambda x: x.contiguous(memory_format=torch.channels_last),
    lambda x: x[:, :1].expand(x.shape),
    lambda x: torch.nn.functional.pad(x, (1, 2, 1, 0))[:, :, 1:, 1:-2],
]
"""The caller's tensors: element types, and strides of all sorts."""


@few
@given(
    st.data(),
    st.integers(1, 24),
    st.sampled_from([1, 2, 3, 8]),
    st.sampled_from(list(DType)[1:4]),
    st.integers(),
)
def test_depthwise(data: st.DataObject, channels: int, multiplier: int, dtype: DType, seed: int) -> None:
    problem = convolution(
        channels, out_channels=channels * multiplier, dtype=dtype, **data.draw(geometries(channels))
    )
    kernel = cuda_depthwise.KERNELS[0]
    config = data.draw(st.sampled_from(list(kernel.candidates(problem)))).config
    check(kernel, problem, config, seed % 2**32)


@few
@given(
    st.data(), st.sampled_from(cuda_simt.TILES), st.sampled_from([(1, 3), (1, 16), (3, 4), (2, 5)]),
    st.sampled_from([1, 6, 70]), st.booleans(), st.integers(),
)  # fmt: skip
def test_simt(
    data: st.DataObject,
    tile: cuda_simt.Tile,
    groups: tuple[int, int],
    per_group: int,
    external: bool,
    seed: int,
) -> None:
    count, channels = groups
    problem = convolution(
        count * channels, out_channels=count * per_group, dtype=DType.float32, external=external,
        **data.draw(geometries(count)),
    )  # fmt: skip
    form = data.draw(st.sampled_from(FORMS)) if external else None
    check(cuda_simt.KERNELS[0], problem, tile, seed % 2**32, form)


def test_a_stem_keeps_infinities_where_they_belong() -> None:
    """Padding of k multiplies zeros by masked elements, never by a neighbour's infinity."""
    problem = convolution(3, (20, 20), 8, (7, 7), external=True, stride=(2, 2), padding=(3, 3, 3, 3))
    kernel = cuda_gather.KERNELS[0]
    source = torch.zeros(1, 3, 20, 20)
    source[0, 1, 9, 8] = float("inf")  # windows begin at odd columns, their padding at even ones
    weight = torch.ones(8, 3, 7, 7)
    shape = (1, 8, 10, 10)
    residual = torch.zeros(shape).half().contiguous(memory_format=torch.channels_last)
    with tempfile.TemporaryDirectory() as folder:
        run = EmulatedKernel(kernel, problem, kernel.candidates(problem)[0].config, Path(folder))
        found = run(source, weight, torch.zeros(8), residual)
    expected = torch.nn.functional.conv2d(torch.isinf(source).float(), weight, None, 2, 3) > 0
    assert not torch.isnan(found).any()
    assert torch.equal(torch.isinf(found), expected)
