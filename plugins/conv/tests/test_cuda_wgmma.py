"""The Hopper convolution without a GPU: what it accepts, how it chooses, packs and compiles."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sympy
from cuda_compilation import assert_compiles_tightly
from fx2ait_conv import cuda_wgmma
from fx2ait_conv.cuda_wgmma import CONV2D_WGMMA, configurations, fetchable_operands, pack_weight
from fx2ait_conv.cuda_wgmma_tile import TILES, Tile
from fx2ait_conv.operators import Conv2d, Conv2dAttributes
from hypothesis import given, settings
from hypothesis import strategies as st

from fx2ait_core.sdk import (
    Decline,
    DimRange,
    DType,
    OperandSpec,
    PointwiseProgram,
    PointwiseStep,
    Problem,
    Target,
    channels_last,
    tensor_type,
)

H100 = Target(
    "cuda",
    "sm_90a",
    compute_dtypes=(DType.float16, DType.bfloat16),
    features=frozenset({"mma_sync", "cp_async", "wgmma", "tma"}),
    properties={
        "c_types": {DType.float16: "__half", DType.bfloat16: "__nv_bfloat16", DType.float32: "float"},
        "launch_context": "cudaStream_t stream",
        "device_function": "__device__ __forceinline__",
        "element_loop": "#pragma unroll",
        "multiprocessors": 132,
        "shared_memory_per_block": 232448,
        "shared_memory_per_multiprocessor": 233472,
        "l2_bytes": 50 << 20,
        "memory_gbps": 3000.0,
        "fp16_tflops": 989.0,
    },
)


def make_problem(
    channels: int = 64,
    size: int = 56,
    out_channels: int = 64,
    kernel: int = 3,
    batch: int = 256,
    dtype: DType = DType.float16,
    result: DType | None = None,
    target: Target = H100,
    **attributes: Any,
) -> Problem:
    """A convolution with bias, residual and ReLU over a batch of 1 to 512."""
    symbol = sympy.Symbol("batch", integer=True, positive=True)
    geometry = Conv2dAttributes(**{"padding": (kernel // 2,) * 4, **attributes})
    layout = channels_last(4)
    source = tensor_type((symbol, channels, size, size), dtype, layout)
    weight = tensor_type((out_channels, channels // geometry.groups, kernel, kernel), dtype)
    (inferred,) = Conv2d.infer([source, weight], geometry)
    output = inferred.with_layout(layout)
    steps = (
        PointwiseStep("add", "({0} + {1})", (0, 1)),
        PointwiseStep("add", "({0} + {1})", (3, 2)),
        PointwiseStep("relu", "fx::maximum({0}, 0.0f)", (4,)),
    )
    return Problem(
        kind=Conv2d.kind,
        attributes=geometry,
        operands=(OperandSpec("input", source), OperandSpec("weight", weight, constant=True)),
        epilogue=PointwiseProgram(3, steps),
        epilogue_operands=(
            OperandSpec("bias", tensor_type((out_channels, 1, 1), DType.float32), constant=True),
            OperandSpec("residual", output),
        ),
        results=(output.with_dtype(result or dtype),),
        target=target,
        symbols=(("batch", DimRange(1, 512)),),
        sizes=(("batch", batch),),
    )


@pytest.mark.parametrize(
    "problem",
    [
        make_problem(),
        make_problem(8, 17, 40, 7, stride=(2, 3), padding=(0, 3, 2, 1)),
        make_problem(72, 20, 8, 3, dilation=(2, 5), dtype=DType.bfloat16, result=DType.float32),
    ],
)
def test_supported(problem: Problem) -> None:
    assert CONV2D_WGMMA.supports(problem) is None
    assert CONV2D_WGMMA.candidates(problem)


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (make_problem(target=replace(H100, features=frozenset({"mma_sync"}))), "wgmma"),
        (make_problem(channels=12), "multiples of 8"),
        (make_problem(out_channels=20), "multiples of 8"),
        (make_problem(groups=2), "groups must be 1"),
        (make_problem(stride=(9, 1)), "exceed 8"),
        (make_problem(size=600, dilation=(1, 128)), "255"),
        (make_problem(padding=(129, 0, 0, 0)), "-128..127"),
        (make_problem(dtype=DType.float32), "float32"),
        (make_problem(result=DType.int32), "int32"),
    ],
)
def test_declined_with_reason(problem: Problem, reason: str) -> None:
    declined = CONV2D_WGMMA.supports(problem)
    assert isinstance(declined, Decline)
    assert reason in declined.reason


@given(
    batch=st.integers(1, 512),
    channels=st.sampled_from([8, 24, 64, 512]),
    out_channels=st.sampled_from([8, 40, 64, 1000]),
    size=st.integers(1, 60),
)
def test_candidates_fit_the_device(batch: int, channels: int, out_channels: int, size: int) -> None:
    problem = make_problem(channels, size, out_channels, 1, batch)
    found = CONV2D_WGMMA.candidates(problem)
    assert 1 <= len(found) <= cuda_wgmma.MOST_CANDIDATES
    assert [c.estimate_us for c in found] == sorted(c.estimate_us for c in found)
    for tile in (c.config for c in found):
        barriers = 8 * (2 * tile.stages + (2 if tile.alternate else 1) + tile.warpgroups)
        block = tile.stages * tile.stage_bytes + tile.sums_bytes + 1024 + barriers
        assert block <= H100["shared_memory_per_block"]
        assert tile.resident * (block + 1024) <= H100["shared_memory_per_multiprocessor"]
        assert tile.splits <= cuda_wgmma.steps(problem)


def test_small_batches_split_and_large_ones_do_not() -> None:
    small = CONV2D_WGMMA.candidates(make_problem(512, 7, 512, batch=1))[0].config
    large = CONV2D_WGMMA.candidates(make_problem(512, 7, 512, batch=256))[0].config
    assert small.splits > 1
    assert large.splits == 1


@settings(max_examples=10)
@given(
    batch=st.integers(1, 512),
    channels=st.sampled_from([64, 512]),
    out_channels=st.sampled_from([8, 40, 64, 1000]),
    size=st.integers(1, 30),
)
def test_sharing_tiles_fit_clusters(batch: int, channels: int, out_channels: int, size: int) -> None:
    problem = make_problem(channels, size, out_channels, 1, batch)
    pixels = size * size * batch
    for tile in configurations(problem):
        tiles = tile.tiles(pixels, out_channels)
        assert tile.cluster <= 8
        assert tiles % tile.sharers == 0
        assert tiles >= -(-pixels // tile.pixels) * -(-out_channels // tile.channels)
        assert tile.channels // tile.filter_sharers % 8 == tile.pixels // tile.pixel_sharers % 8 == 0


def test_sharing_tiles_are_offered_beside_others() -> None:
    problem = make_problem(512, 7, 512, batch=16)
    sharing = [tile for tile in configurations(problem) if tile.sharers > 1]
    assert {(tile.filter_sharers, tile.pixel_sharers) for tile in sharing} == set(cuda_wgmma.SHARING)
    offered = [candidate.config for candidate in CONV2D_WGMMA.candidates(problem)]
    assert any(tile.sharers > 1 for tile in offered)
    assert any(tile.sharers == 1 for tile in offered)


@pytest.mark.parametrize(("batch", "size", "channels"), [(16, 28, 128), (16, 14, 256), (32, 14, 256)])
def test_channel_rows_spread_a_result_over_all_multiprocessors(batch: int, size: int, channels: int) -> None:
    """In steps of 64 pixels these results have 98 tiles of the size that suits, for 132 multiprocessors."""
    problem = make_problem(channels, size, channels, batch=batch)
    best = CONV2D_WGMMA.candidates(problem)[0].config
    assert best.channel_rows and best.pixels % 64
    assert 120 <= best.tiles(batch * size * size, channels) * best.splits <= 132


def test_blocks_that_share_channel_rows_each_finish_some() -> None:
    tile = Tile(48, 64, 1, alternate=False, resident=1, channel_rows=True)
    problem = make_problem(512, 7, 512, batch=1)
    assert replace(tile, splits=6).fitted(problem) is not None
    assert replace(tile, splits=8).fitted(problem) is None


def with_operands(problem: Problem, *dtypes: DType) -> Problem:
    """The problem with residuals of these types, added one after the other, and no bias."""
    steps = [PointwiseStep("add", "({0} + {1})", (0, 1))]
    for i in range(1, len(dtypes)):
        steps.append(PointwiseStep("add", "({0} + {1})", (len(dtypes) + i, i + 1)))
    residuals = [
        OperandSpec(f"residual{i}", problem.result.with_dtype(dtype)) for i, dtype in enumerate(dtypes)
    ]
    program = PointwiseProgram(1 + len(dtypes), tuple(steps))
    return replace(problem, epilogue=program, epilogue_operands=tuple(residuals))


def test_operands_laid_out_as_the_result_are_fetched() -> None:
    problem = make_problem(batch=256)
    assert fetchable_operands(problem) == ("e1",)  # the residual, not the bias
    assert fetchable_operands(with_operands(problem, DType.float16, DType.bfloat16)) == ("e0", "e1")
    assert fetchable_operands(with_operands(problem, DType.float16, DType.float32)) == ()
    assert fetchable_operands(replace(problem, epilogue=PointwiseProgram(1), epilogue_operands=())) == ()


def test_only_tiles_that_would_wait_for_operands_fetch_them() -> None:
    tiles = list(configurations(make_problem(128, 28, 128, batch=256)))
    assert {t.fetches for t in tiles if t.alternate} == {True, False}
    for tile in tiles:
        if not tile.alternate:
            assert tile.fetches == (tile.splits == 1 and not tile.loads_early)
    plain = replace(make_problem(), epilogue=PointwiseProgram(1), epilogue_operands=())
    assert not any(tile.fetches for tile in configurations(plain))


def test_generated_source_names_the_fetched_operands() -> None:
    problem = make_problem(batch=256)
    for fetches, names in ((True, "<&Epilogue::e1>"), (False, "<>")):
        tile = next(t for t in configurations(problem) if t.alternate and t.fetches == fetches)
        assert f"FetchedOperands{names};" in CONV2D_WGMMA.emit("conv", problem, tile).text


def test_more_operands_than_a_stage_holds_are_not_fetched() -> None:
    tile = Tile(256, 64, 2, alternate=False, resident=1)
    assert [tile.operand_steps(count) for count in (1, 2, 3)] == [1, 2, 0]
    problem = with_operands(make_problem(batch=256), *[DType.float16] * 3)
    assert not any(t.fetches for t in configurations(problem) if (t.pixels, t.channels) == (256, 64))


def test_a_single_tile_per_block_takes_no_more_stages_than_steps() -> None:
    for tile in configurations(make_problem(64, 14, 64, kernel=1, batch=1)):
        assert tile.stages == 3
    for tile in configurations(make_problem(128, 28, 128, batch=1)):
        assert tile.stages <= -(-18 // tile.splits)


@given(
    out_channels=st.integers(1, 9),
    channels=st.integers(1, 130),
    height=st.integers(1, 3),
    width=st.integers(1, 3),
)
def test_packing_keeps_every_weight(out_channels: int, channels: int, height: int, width: int) -> None:
    weight = np.random.default_rng().normal(size=(out_channels, channels, height, width))
    packed = pack_weight(weight, DType.float16)
    blocks = -(-channels // 64)
    assert packed.shape == (height * width * blocks, out_channels, 64)
    assert packed.dtype == np.float16
    expected = weight.astype(np.float16)
    for c in (0, channels // 2, channels - 1):
        for row, column in ((0, 0), (height - 1, width - 1)):
            step = (row * width + column) * blocks + c // 64
            np.testing.assert_array_equal(packed[step, :, c % 64], expected[:, c, row, column])
    assert np.count_nonzero(packed) == np.count_nonzero(expected)


@given(out_channels=st.integers(1, 40), channels=st.integers(1, 70))
def test_packing_for_channel_rows_pairs_even_and_odd_channels(out_channels: int, channels: int) -> None:
    weight = np.random.default_rng().normal(size=(out_channels, channels, 1, 2))
    packed, plain = (pack_weight(weight, DType.float16, paired) for paired in (True, False))
    assert packed.shape == (2 * -(-channels // 64), -(-out_channels // 16) * 16, 64)
    for o in range(out_channels):
        np.testing.assert_array_equal(packed[:, o // 16 * 16 + o % 16 // 2 + o % 2 * 8], plain[:, o])
    assert np.count_nonzero(packed) == np.count_nonzero(plain)


def test_emission_is_deterministic_and_names_the_launcher() -> None:
    problem = make_problem()
    config = CONV2D_WGMMA.candidates(problem)[0].config
    first, second = (CONV2D_WGMMA.emit("conv_a", problem, config) for _ in range(2))
    assert first.text == second.text
    assert "void conv_a(" in first.text
    assert first.workspace == 0
    included = set(
        re.findall(r'#include "(fx2ait_conv/[^"]+)"', first.text + "".join(first.headers.values()))
    )
    assert set(first.headers) == included


@pytest.mark.nvcc
@pytest.mark.parametrize(
    ("dtype", "result"), [(DType.float16, DType.float16), (DType.bfloat16, DType.float32)]
)
def test_best_candidate_compiles_cleanly(dtype: DType, result: DType, tmp_path: Path) -> None:
    problem = make_problem(dtype=dtype, result=result)
    assert_compiles_tightly(CONV2D_WGMMA, problem, CONV2D_WGMMA.candidates(problem)[0].config, tmp_path)


@pytest.mark.nvcc
@pytest.mark.slow
@pytest.mark.parametrize("tile", TILES, ids=str)
@pytest.mark.parametrize("variant", ["plain", "fetching", "3 splits", "8 splits"])
def test_every_tile_compiles_cleanly(tile: Tile, variant: str, tmp_path: Path) -> None:
    problem = make_problem(512, 7, 512, batch=1)
    splits = int(variant.split(maxsplit=1)[0]) if "splits" in variant else 1
    fitted = replace(tile, splits=splits, fetches=variant == "fetching").fitted(problem)
    if splits > 1 and (tile.alternate or fitted is None):
        pytest.skip("alternating warpgroups, the largest and the smallest tiles do not split sums so")
    if tile.channel_rows and variant == "fetching":
        pytest.skip("operands are loaded before the products, not fetched")
    assert fitted is not None
    assert_compiles_tightly(CONV2D_WGMMA, problem, fitted, tmp_path)


@pytest.mark.nvcc
@pytest.mark.slow
@pytest.mark.parametrize("pixels", [256, 64])
def test_two_fetched_operands_compile_cleanly(pixels: int, tmp_path: Path) -> None:
    problem = with_operands(make_problem(batch=256), DType.float16, DType.bfloat16)
    tile = next(t for t in configurations(problem) if t.pixels == pixels and t.fetches)
    assert_compiles_tightly(CONV2D_WGMMA, problem, tile, tmp_path)


@pytest.mark.nvcc
@pytest.mark.slow
@pytest.mark.parametrize(
    "tile",
    [
        Tile(64, 128, 1, False, 1, 8, 2, filter_sharers=4),
        Tile(64, 32, 1, False, 3, 4, 3, filter_sharers=2),
        Tile(128, 64, 2, False, 1, 8, 2, filter_sharers=2, pixel_sharers=2),
        Tile(128, 128, 2, False, 1, 5, 4, pixel_sharers=2),
        Tile(64, 256, 2, True, 1, 4, pixel_sharers=4),
        Tile(256, 128, 2, False, 1, 4, fetches=True, filter_sharers=2),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [DType.float16, DType.bfloat16])
def test_sharing_tiles_compile_cleanly(tile: Tile, dtype: DType, tmp_path: Path) -> None:
    assert_compiles_tightly(CONV2D_WGMMA, make_problem(512, 7, 512, batch=8, dtype=dtype), tile, tmp_path)
