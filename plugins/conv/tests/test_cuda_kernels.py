"""The general CUDA convolutions without a GPU: what they accept, choose, pack and compile."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cuda_compilation import compile_kernel
from cuda_problems import convolution, cuda_target, max_window
from fx2ait_conv import (
    cuda_depthwise,
    cuda_gather,
    cuda_mma,
    cuda_plane_tile,
    cuda_shape,
    cuda_simt,
    cuda_strip,
    cuda_strip_tile,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fx2ait_core.sdk import DType, Kernel, OperandSpec, Problem, evaluate, row_major, tensor_type

(MMA,), (GATHER,), (DEPTHWISE,), (SIMT,), (STRIP,) = (
    module.KERNELS for module in (cuda_mma, cuda_gather, cuda_depthwise, cuda_simt, cuda_strip)
)
PADDED: dict[str, Any] = {"padding": (1, 1, 1, 1)}
RESNET = convolution(64, (56, 56), 64, batch=256, **PADDED)
STEM = convolution(3, (224, 224), 64, (7, 7), batch=256, external=True, stride=(2, 2), padding=(3, 3, 3, 3))
POOLED = convolution(
    3, (224, 224), 64, (7, 7), batch=256, external=True, stride=(2, 2), padding=(3, 3, 3, 3), residual=False,
    window=max_window,
)  # fmt: skip


def declined(kernel: Kernel, problem: Problem) -> str:
    answer = kernel.supports(problem)
    assert answer is not None, f"{kernel.name} takes the problem"
    return answer.reason


def test_what_is_served() -> None:
    for kernel in (MMA, GATHER, SIMT):
        assert kernel.supports(RESNET) is None
    assert STRIP.supports(STEM) is None and STRIP.supports(POOLED) is None
    assert [kernel for kernel in (MMA, GATHER, DEPTHWISE, SIMT, STRIP) if kernel.absorbs_windows] == [STRIP]
    assert GATHER.supports(STEM) is None and SIMT.supports(STEM) is None
    assert DEPTHWISE.supports(convolution(32, (9, 9), 64, groups=32)) is None
    grouped = convolution(128, (9, 9), 128, groups=32)
    assert MMA.supports(grouped) is None  # two groups of 4 channels make one vector
    assert {candidate.config.merged for candidate in MMA.candidates(grouped)} <= {2, 4, 8, 16}


@pytest.mark.parametrize(
    ("kernel", "problem", "reason"),
    [
        (MMA, STEM, "reads no external input"),
        (MMA, convolution(12, (9, 9), 8), "12 input channels of a group must be a multiple of 8"),
        (MMA, convolution(16, (9, 9), 16, groups=16), "no channels to sum over"),
        (
            MMA,
            convolution(16, (9, 9), 8, dtype=DType.float32),
            "computes in float16 or bfloat16, not float32",
        ),
        (GATHER, convolution(3, (9, 9), 8, dtype=DType.float32, external=True), "not float32"),
        (GATHER, convolution(3, (400, 400), 8, (200, 200)), "more shared memory"),
        (STRIP, RESNET, "64 input channels: it takes at most 8"),
        (STRIP, convolution(8, (9, 9), 8, groups=2), "2 groups"),
        (STRIP, convolution(3, (9, 9), 8, dtype=DType.float32, external=True), "not float32"),
        (STRIP, convolution(8, (99, 400), 64, (99, 99)), "more registers or shared memory"),
        (STRIP, replace(POOLED, window=replace(POOLED.window, dilation=(2, 2))), "reduces no windows"),
        (STRIP, convolution(3, (99, 99), 64, window=partial(max_window, kernel=(2, 65))), "more registers"),
        (DEPTHWISE, RESNET, "64 input channels per group are not depthwise"),
        (DEPTHWISE, convolution(8, (99, 99), 8, (1, 65), groups=8), "too wide to unroll"),
        (DEPTHWISE, convolution(8, (9, 9), 8, groups=8, external=True), "reads no external input"),
        (SIMT, convolution(1, (70000, 70000), 1, (1, 1), dtype=DType.float32), "64-bit indices"),
    ],
    ids=lambda value: (
        value.name if isinstance(value, Kernel) else "" if isinstance(value, Problem) else value
    ),
)
def test_declines_with_the_reason(kernel: Kernel, problem: Problem, reason: str) -> None:
    assert reason in declined(kernel, problem)


def test_declines_what_no_kernel_reads() -> None:
    source, weight = RESNET.operands
    bias = OperandSpec("bias", tensor_type((64,), DType.float16), constant=True)
    variable = replace(RESNET, operands=(source, replace(weight, constant=False)))
    rows = replace(source, type=source.type.with_layout(row_major(4)))
    caller = replace(
        RESNET, epilogue_operands=tuple(replace(o, external=True) for o in RESNET.epilogue_operands)
    )
    for problem, reason in [
        (replace(RESNET, operands=(source, weight, bias)), "part of the epilogue"),
        (variable, "must be constant"),
        (replace(RESNET, operands=(rows, weight)), "the input must be channels-last, not row_major"),
        (
            replace(RESNET, results=(RESNET.result.with_layout(row_major(4)),)),
            "the result must be channels-last",
        ),
        (caller, "known only at run time"),
    ]:
        for kernel in (MMA, GATHER, SIMT):
            assert reason in declined(kernel, problem)
    old = replace(RESNET, target=replace(cuda_target(), features=frozenset()))
    assert "no mma.sync" in declined(MMA, old) and "no mma.sync" in declined(GATHER, old)


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
@pytest.mark.parametrize("batch", [1, 32, 256])
def test_candidates_are_ranked_and_fit(arch: str, batch: int) -> None:
    problems = [
        (MMA, convolution(512, (7, 7), 512, batch=batch, arch=arch, **PADDED)),
        (GATHER, replace(STEM, target=cuda_target(arch), sizes=(("batch", batch),))),
        (STRIP, replace(STEM, target=cuda_target(arch), sizes=(("batch", batch),))),
        (STRIP, replace(POOLED, target=cuda_target(arch), sizes=(("batch", batch),))),
        (DEPTHWISE, convolution(96, (56, 56), 96, (7, 7), batch=batch, arch=arch, groups=96)),
        (SIMT, convolution(64, (56, 56), 64, batch=batch, arch=arch, dtype=DType.float32, **PADDED)),
    ]
    for kernel, problem in problems:
        estimates = [candidate.estimate_us for candidate in kernel.candidates(problem)]
        assert estimates and estimates == sorted(estimates) and estimates[0] > 1
    for candidate in MMA.candidates(problems[0][1]):
        assert candidate.config.shared_bytes < problems[0][1].target["shared_memory_per_block"]


@pytest.mark.parametrize(("arch", "wgmma"), [("sm_80", False), ("sm_90a", True)])
def test_strips_are_as_long_as_the_batch_allows(arch: str, wgmma: bool) -> None:
    chosen = {}
    for batch in (1, 8, 32, 256):
        sized = replace(POOLED, target=cuda_target(arch), sizes=(("batch", batch),))
        chosen[batch] = STRIP.candidates(sized)[0]
        assert all(c.config.wgmma <= wgmma for c in STRIP.candidates(sized))
    strips = [candidate.config.strip for candidate in chosen.values()]
    assert strips == sorted(strips) and strips[0] <= 2 and strips[-1] >= 28
    assert chosen[256].config.wgmma == wgmma and chosen[256].config.steps == 2
    assert chosen[1].estimate_us < 12 and (not wgmma or chosen[256].estimate_us < 300)


@settings(deadline=None)
@given(
    st.integers(1, 8),
    st.tuples(st.integers(1, 11), st.integers(1, 11)),
    st.integers(1, 4),
    st.integers(1, 70),
)
def test_strip_geometry_agrees_with_the_weights(
    channels: int, kernel: tuple[int, int], stride: int, out_channels: int
) -> None:
    """Every weight has its place in k, which is whole steps of 16 per kernel row."""
    problem = convolution(channels, (40, 70), out_channels, kernel, stride=(1, stride))
    tile = next(cuda_strip._fitting(problem))
    geometry = cuda_strip_tile.Geometry.of(problem, tile)
    weight = np.random.default_rng().standard_normal((out_channels, channels, *kernel)).astype(np.float16)
    packed = cuda_strip.pack(cuda_shape.ConvShape.of(problem), tile.channels, DType.float16, weight)
    assert packed.shape[1:] == (geometry.padded_k // 8, tile.channels, 8)
    rows = packed.transpose(0, 2, 1, 3).reshape(-1, kernel[0], 16 * geometry.row_steps)
    real = rows[:out_channels, :, : kernel[1] * geometry.pixel].reshape(out_channels, *kernel, geometry.pixel)
    assert np.array_equal(real[..., :channels].transpose(0, 3, 1, 2), weight)
    assert np.count_nonzero(packed) == np.count_nonzero(weight)


@settings(deadline=None)
@given(
    st.integers(1, 8),
    st.tuples(st.integers(1, 11), st.integers(1, 17)),
    st.integers(1, 4),
    st.integers(0, 3),
    st.integers(1, 70),
)
def test_planes_have_a_place_for_every_weight(
    channels: int, kernel: tuple[int, int], stride: int, padding: int, out_channels: int
) -> None:
    """Element by element: a unit is 8 columns of a channel in a kernel row, and units come in pairs."""
    problem = convolution(
        channels, (40, 70), out_channels, kernel, stride=(1, stride), padding=(0, 0, padding, padding)
    )
    shape = cuda_shape.ConvShape.of(problem)
    order = cuda_plane_tile.PlaneOrder.of(shape)
    weight = np.random.default_rng().standard_normal((out_channels, channels, *kernel)).astype(np.float16)
    packed = cuda_plane_tile.pack_planes(shape, 32, DType.float16, weight)
    assert packed.shape[1:] == (2 * order.steps, 32, 8)
    if stride % 2 == 0 and kernel[1] % 8:
        assert (order.shift + padding) % 2 == 0  # windows begin at even columns
    places = packed.transpose(0, 2, 1, 3).reshape(-1, 2 * order.steps, 8)[:out_channels]
    for channel, row, column in np.ndindex(channels, *kernel):
        chunk, element = divmod(column + order.shift, 8)
        unit = channel * order.chunks + chunk
        beside = unit < 2 * order.side_steps
        place = row * 2 * order.side_steps + unit if beside else kernel[0] * 2 * order.side_steps + row
        assert np.array_equal(places[:, place, element], weight[:, channel, row, column])
    assert np.count_nonzero(packed) == np.count_nonzero(weight)


def test_small_batches_split_the_sum() -> None:
    problem = convolution(512, (7, 7), 512, batch=1, **PADDED)
    config = MMA.candidates(problem)[0].config
    assert config.splits > 1
    needed = MMA.emit("f", problem, config).workspace
    counters = cuda_mma.counter_bytes(problem, config)
    for batch in (1, 7, 512):
        tiles = -(-49 * batch // config.pixels) * -(-512 // config.channels)
        assert counters >= 4 * tiles
        partials = tiles * config.splits * config.pixels * config.channels * 4
        assert evaluate(needed, {"batch": batch}) == counters + partials
    assert MMA.emit("f", problem, replace(config, splits=1)).workspace == 0


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers())
def test_merged_groups_compute_the_same(
    per: int, channels: int, results: int, merged: int, seed: int
) -> None:
    groups = per * merged
    generator = torch.Generator().manual_seed(seed % 2**32)
    weight = torch.randn(groups * results, channels, 3, 2, generator=generator, dtype=torch.float64)
    source = torch.randn(2, groups * channels, 5, 6, generator=generator, dtype=torch.float64)
    together = torch.from_numpy(cuda_shape.merge_groups(weight.numpy(), groups, merged))
    expected = torch.nn.functional.conv2d(source, weight, groups=groups)
    torch.testing.assert_close(torch.nn.functional.conv2d(source, together, groups=per), expected)


def test_weights_are_packed_in_the_order_read() -> None:
    weight = np.random.default_rng().standard_normal((6, 5, 3, 2))
    packed = cuda_mma.pack(DType.float16, 1, 1, weight)
    assert packed.shape == (6, 64) and packed.dtype == np.float16
    assert packed[4, (2 * 2 + 1) * 5 + 3] == np.float16(weight[4, 3, 2, 1]) and not packed[:, 30:].any()
    packed = cuda_simt.pack(2, weight)
    assert packed.shape == (2, 32, 4)
    assert packed[1, (2 * 2 + 1) * 5 + 3, 1] == np.float32(weight[4, 3, 2, 1]) and not packed[:, :, 3:].any()
    packed = cuda_depthwise.pack(weight[:, :1])
    assert packed.shape == (3, 2, 6) and packed[2, 1, 4] == np.float32(weight[4, 0, 2, 1])


def test_stem_pairs_begin_with_a_zero() -> None:
    """Three columns of padding make the window begin at an odd column: a zero fills the pair."""
    tile = GATHER.candidates(STEM)[0].config
    shape = cuda_shape.ConvShape.of(STEM)
    weight = np.random.default_rng().standard_normal((64, 3, 7, 7)).astype(np.float32)
    packed = cuda_gather.pack(shape, tile, DType.float16, weight)
    assert packed.shape == (1, 1, 64, 176)
    rows = packed[0, 0, :, :168].reshape(64, 3, 7, 8)
    assert not rows[..., 0].any() and not packed[..., 168:].any()
    assert np.array_equal(rows[..., 1:], weight.astype(np.float16))


@pytest.mark.nvcc
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
@pytest.mark.parametrize(
    ("kernel", "problem"),
    [
        (MMA, convolution(64, (14, 14), 64, batch=1, **PADDED)),
        (MMA, convolution(512, (7, 7), 512, batch=1, dtype=DType.bfloat16, **PADDED)),
        (GATHER, STEM),
        (GATHER, convolution(37, (14, 14), 50, result=DType.float32, **PADDED)),
        (STRIP, POOLED),
        (STRIP, convolution(3, (224, 224), 64, external=True, **PADDED)),
        (
            STRIP,
            convolution(7, (30, 30), 31, (11, 11), dtype=DType.bfloat16, stride=(3, 3), window=max_window),
        ),
        (DEPTHWISE, convolution(96, (56, 56), 96, (7, 7), groups=96)),
        (SIMT, convolution(3, (56, 56), 64, external=True, dtype=DType.float32, **PADDED)),
    ],
    ids=["mma", "mma_split", "stem", "gather", "strip_pooled", "strip", "strip_odd", "depthwise", "simt"],
)
def test_sources_compile_without_warnings(
    kernel: Kernel, problem: Problem, arch: str, tmp_path: Path
) -> None:
    problem = replace(problem, target=cuda_target(arch))
    compile_kernel(kernel, problem, kernel.candidates(problem)[0].config, tmp_path)
