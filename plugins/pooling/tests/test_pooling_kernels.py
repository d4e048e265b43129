"""The poolings' CPU kernels on hand-made problems against PyTorch; their CUDA sources compile."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from fx2ait_pooling.cpu import KERNELS
from fx2ait_pooling.cuda import KERNELS as CUDA_KERNELS
from fx2ait_pooling.operators import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AdaptivePoolAttributes,
    AvgPool2d,
    MaxPool2d,
    Mean,
    MeanAttributes,
    Pool2dAttributes,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from fx2ait_core.sdk import (
    DimRange,
    DType,
    OperandSpec,
    PointwiseProgram,
    PointwiseStep,
    Problem,
    channels_last,
    row_major,
    tensor_type,
)
from fx2ait_core.testing.launchers import (
    LauncherLibrary,
    cpu_backend,
    cpu_target,
    cuda_backend,
    cuda_target,
    dynamic_dim,
    launchers,
    missing_compiler,
    retargeted,
    size_of,
)

BATCH = dynamic_dim("offset")  # a name that generated code might use itself
SYMBOLS = (("offset", DimRange(1, 5)),)
ADD_RELU = PointwiseProgram(
    2, (PointwiseStep("t.add", "{0} + {1}", (0, 1)), PointwiseStep("t.relu", "fx::maximum({0}, 0.0f)", (2,)))
)


def windowed(
    operator, attributes, channels, height, width, *, external=False, dtype=DType.float32, fused=False
):
    source = tensor_type((BATCH, channels, height, width), DType.float32, channels_last(4))
    (result,) = operator.infer([source], attributes)
    result = result.with_layout(channels_last(4)).with_dtype(dtype)
    bias = OperandSpec("bias", tensor_type((channels, 1, 1), DType.float32), constant=True)
    return Problem(
        operator.kind,
        attributes,
        (OperandSpec("input", source, external=external),),
        ADD_RELU if fused else PointwiseProgram(1),
        (bias,) if fused else (),
        (result,),
        cpu_target(),
        SYMBOLS,
        (("offset", 2),),
    )


def mean(shape, dims, keepdim=False, external=False):
    source = tensor_type(shape, DType.float32, row_major(len(shape)))
    attributes = MeanAttributes(dims, keepdim)
    return Problem(
        Mean.kind, attributes, (OperandSpec("input", source, external=external),), PointwiseProgram(1), (),
        Mean.infer([source], attributes), cpu_target(), SYMBOLS, (("offset", 2),)
    )  # fmt: skip


def pool(kernel, stride, padding, dilation, size, ceil=False, **more):
    """Attributes with the output size that PyTorch gives."""
    probe = functional.max_pool2d(torch.zeros(1, 1, *size), kernel, stride, padding, dilation, ceil)
    return Pool2dAttributes(kernel, stride, padding, dilation, tuple(probe.shape[2:]), **more)


MAXIMA = [
    windowed(MaxPool2d, pool((3, 3), (2, 2), (1, 1), (1, 1), (13, 11)), 64, 13, 11),
    windowed(MaxPool2d, pool((3, 2), (2, 3), (1, 1), (2, 1), (13, 11), True), 35, 13, 11, fused=True),
    windowed(MaxPool2d, pool((2, 2), (2, 2), (0, 0), (1, 1), (7, 7), True), 16, 7, 7, dtype=DType.float16),
    windowed(MaxPool2d, pool((3, 3), (2, 2), (1, 1), (1, 1), (9, 9)), 3, 9, 9, external=True),
]
AVERAGES = [
    windowed(AvgPool2d, pool((3, 3), (2, 2), (1, 1), (1, 1), (13, 12), True), 24, 13, 12),
    windowed(
        AvgPool2d, pool((3, 3), (2, 2), (1, 1), (1, 1), (13, 12), True, count_include_pad=False), 40, 13, 12
    ),
    windowed(
        AvgPool2d, pool((2, 3), (1, 2), (0, 1), (1, 1), (8, 7), divisor_override=5), 9, 8, 7, fused=True
    ),
    windowed(AvgPool2d, pool((5, 5), (3, 3), (2, 2), (1, 1), (11, 11), True), 17, 11, 11, external=True),
]
ADAPTIVE = [
    windowed(AdaptiveAvgPool2d, AdaptivePoolAttributes((1, 1)), 512, 7, 7),
    windowed(AdaptiveAvgPool2d, AdaptivePoolAttributes((3, 5)), 21, 7, 8, fused=True),
    windowed(AdaptiveAvgPool2d, AdaptivePoolAttributes((7, 7)), 16, 3, 4, external=True),
    windowed(AdaptiveMaxPool2d, AdaptivePoolAttributes((2, 3)), 33, 7, 5),
    windowed(AdaptiveMaxPool2d, AdaptivePoolAttributes((1, 1)), 5, 6, 6, external=True),
]
MEANS = [
    mean((BATCH, 6, 5, 7), (2, 3)),
    mean((BATCH, 6, 5, 7), (1,), keepdim=True),
    mean((BATCH, 6, 5, 7), (1, 3)),
    mean((BATCH, 300), (1,)),
    mean((5, BATCH, 600), (0,)),
    mean((BATCH, 6, 5, 7), (0, 1, 2, 3)),
    mean((BATCH, 6, 5, 7), (1, 2), external=True),
    mean((BATCH, 6, 5, 7), (3,), external=True),
]
ENTRIES = list(itertools.chain.from_iterable(
    launchers(KERNELS, problem) for problem in [*MAXIMA, *AVERAGES, *ADAPTIVE, *MEANS]
))  # fmt: skip

pytestmark = pytest.mark.xdist_group("pooling_kernels")  # compile once


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return LauncherLibrary(tmp_path_factory.mktemp("pooling"), cpu_backend(), ENTRIES)


def reference(problem, source, bias):
    attributes = problem.attributes
    if problem.kind == Mean.kind:
        return source.mean(attributes.dims, keepdim=attributes.keepdim)
    if problem.kind == AdaptiveAvgPool2d.kind:
        found = functional.adaptive_avg_pool2d(source, attributes.output_size)
    elif problem.kind == AdaptiveMaxPool2d.kind:
        found = functional.adaptive_max_pool2d(source, attributes.output_size)
    else:
        geometry = (attributes.kernel, attributes.stride, attributes.padding)
        size = list(attributes.output_size)
        for ceil in (False, True):
            if problem.kind == MaxPool2d.kind:
                found = functional.max_pool2d(source, *geometry, attributes.dilation, ceil)
            else:
                found = functional.avg_pool2d(
                    source, *geometry, ceil, attributes.count_include_pad, attributes.divisor_override
                )
            if list(found.shape[2:]) == size:
                break
    return found if bias is None else functional.relu(found + bias)


@settings(max_examples=120, deadline=None)
@given(
    index=st.integers(0, len(ENTRIES) - 1), batch=st.integers(1, 5), seed=st.integers(0, 2**32 - 1),
    nans=st.booleans(), dtype=st.sampled_from([torch.float32, torch.float16])
)  # fmt: skip
def test_poolings_agree_with_pytorch(library, index, batch, seed, nans, dtype):
    problem = ENTRIES[index].problem
    spec = problem.operands[0]
    torch.manual_seed(seed)
    shape = size_of(spec.type.shape, {"offset": batch})
    source = torch.randn(shape)
    if nans:
        source[torch.rand(shape) < 0.02] = float("nan")
        source[torch.rand(shape) < 0.02] = float("inf")
    if spec.external:
        source = source.to(dtype)
        if len(shape) == 4 and seed % 2:
            source = source.contiguous(memory_format=torch.channels_last)
    bias = torch.randn(problem.epilogue_operands[0].type.shape) if problem.epilogue_operands else None
    operands = [source.numpy(), *([] if bias is None else [bias.numpy()])]
    (found,) = library.compute(index, operands, {"offset": batch})
    expected = reference(problem, source.float(), bias).to(getattr(torch, problem.result.dtype.value))
    torch.testing.assert_close(torch.from_numpy(found.copy()), expected, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_declines_say_why():
    kernel = next(k for k in KERNELS if k.operator == MaxPool2d.kind)
    problem = MAXIMA[0]
    nchw = tensor_type(problem.operands[0].type.shape, DType.float32)
    moved = replace(problem, operands=(OperandSpec("input", nchw),))
    reason = kernel.supports(moved)
    assert reason is not None and "must be channels_last" in reason.reason


@pytest.mark.nvcc
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_cuda_sources_compile_without_warnings(tmp_path, arch):
    backend = cuda_backend()
    if reason := missing_compiler(backend):
        pytest.skip(reason)
    target = cuda_target(arch)
    found = [
        launchers(CUDA_KERNELS, retargeted(p, target, DType.float16))[0]
        for p in (MAXIMA[1], MAXIMA[3], AVERAGES[0], ADAPTIVE[0], MEANS[2], MEANS[6])
    ]
    LauncherLibrary(tmp_path, backend, found)
