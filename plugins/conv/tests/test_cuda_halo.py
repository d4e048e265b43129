"""The Hopper convolution that reads each box of pixels once: what it accepts, how it chooses, packs,
compiles and computes."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cuda_compilation import assert_compiles_tightly
from cuda_problems import convolution, cuda_target
from fx2ait_conv import cuda_halo, cuda_wgmma
from fx2ait_conv.cuda_halo import CONV2D_HALO, TILES, Cut, HaloTile, pack_weight
from fx2ait_conv.cuda_shape import ConvShape
from hypothesis import given
from hypothesis import strategies as st

from fx2ait_core.sdk import Decline, DType, PointwiseProgram, PointwiseStep, Problem
from fx2ait_core.testing.launchers import Launcher, LauncherLibrary, cuda_backend

PADDED: dict[str, Any] = {"padding": (1, 1, 1, 1)}
RESNET = convolution(64, (56, 56), 64, batch=256, **PADDED)
BIAS = PointwiseProgram(2, (PointwiseStep("add", "({0} + {1})", (0, 1)),))


def without_residual(problem: Problem) -> Problem:
    return replace(problem, epilogue=BIAS, epilogue_operands=problem.epilogue_operands[:1])


@pytest.mark.parametrize(
    "problem",
    [
        RESNET,
        convolution(128, (28, 28), 128, **PADDED),
        convolution(8, (17, 9), 40, (7, 7), padding=(0, 3, 2, 1), dilation=(2, 1)),
        convolution(64, (9, 9), 8, (1, 2), dtype=DType.bfloat16, result=DType.float32),
    ],
)
def test_supported(problem: Problem) -> None:
    assert CONV2D_HALO.supports(problem) is None
    assert CONV2D_HALO.candidates(problem)


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (replace(RESNET, target=cuda_target("sm_80")), "wgmma"),
        (convolution(64, (56, 56), 64, stride=(1, 2)), "strides must be 1, not 1x2"),
        (convolution(64, (56, 56), 64, (1, 1)), "one tap"),
        (convolution(64, (56, 56), 64, groups=2), "groups must be 1"),
        (convolution(12, (56, 56), 64), "multiples of 8"),
        (convolution(64, (56, 56), 20), "multiples of 8"),
        (convolution(256, (14, 14), 256, **PADDED), "9 taps of 256 channels take 288 KiB"),
        (convolution(64, (600, 600), 64, dilation=(120, 1)), "box of 256"),
        (convolution(64, (9, 9), 64, dtype=DType.float32), "float32"),
        (convolution(64, (9, 9), 64, result=DType.int32), "int32"),
    ],
)
def test_declined_with_reason(problem: Problem, reason: str) -> None:
    declined = CONV2D_HALO.supports(problem)
    assert isinstance(declined, Decline)
    assert reason in declined.reason


@given(
    batch=st.integers(1, 512),
    channels=st.sampled_from([8, 16, 24, 32, 64, 96, 128]),
    out_channels=st.sampled_from([8, 40, 64, 128, 1000]),
    size=st.integers(1, 60),
    residual=st.booleans(),
)
def test_candidates_fit_the_device(
    batch: int, channels: int, out_channels: int, size: int, residual: bool
) -> None:
    problem = convolution(channels, (size, size), out_channels, batch=batch, **PADDED)
    problem = problem if residual else without_residual(problem)
    found = CONV2D_HALO.candidates(problem)
    assert 1 <= len(found) <= cuda_halo.MOST_CANDIDATES
    assert [c.estimate_us for c in found] == sorted(c.estimate_us for c in found)
    shape, cut = ConvShape.of(problem), Cut.of(channels)
    assert cut.row * cut.blocks >= channels and 16 * cut.depth * cut.blocks >= channels
    for tile in (c.config for c in found):
        held = tile.slices * cuda_halo.filter_bytes(shape) + tile.staged * tile.operand_bytes()
        block = held + tile.stages * tile.box_bytes(shape) + 1024
        assert block <= problem.target["shared_memory_per_block"]
        assert tile.resident * (block + 1024) <= problem.target["shared_memory_per_multiprocessor"]
        assert tile.stages >= min(2, cut.blocks)
        assert tile.staged in ((0, tile.teams) if residual else (0,))


def test_tiles_follow_the_size_of_the_problem() -> None:
    small = CONV2D_HALO.candidates(replace(RESNET, sizes=(("batch", 1),)))[0].config
    large = CONV2D_HALO.candidates(RESNET)[0].config
    assert small.height < large.height
    assert large.alternate and large.staged, "a large residual is fetched ahead"
    assert not CONV2D_HALO.candidates(without_residual(RESNET))[0].config.staged


def test_only_a_single_operand_of_two_bytes_is_staged() -> None:
    bias, residual = RESNET.epilogue_operands
    assert cuda_halo.staged_operand(RESNET) == 1
    assert cuda_halo.staged_operand(without_residual(RESNET)) is None
    wide = replace(residual, type=residual.type.with_dtype(DType.float32))
    assert cuda_halo.staged_operand(replace(RESNET, epilogue_operands=(bias, wide))) is None
    assert cuda_halo.staged_operand(replace(RESNET, epilogue_operands=(residual, residual))) is None


@pytest.mark.parametrize("batch", [1, 32, 256])
def test_few_channels_are_predicted_faster_than_by_one_copy_per_tap(batch: int) -> None:
    problem = replace(RESNET, sizes=(("batch", batch),))
    halo, wgmma = CONV2D_HALO.candidates(problem)[0], cuda_wgmma.CONV2D_WGMMA.candidates(problem)[0]
    assert halo.estimate_us < wgmma.estimate_us


@given(
    out_channels=st.integers(1, 40),
    channels=st.integers(1, 130),
    height=st.integers(1, 3),
    width=st.integers(1, 3),
)
def test_packing_keeps_every_weight(out_channels: int, channels: int, height: int, width: int) -> None:
    weight = np.random.default_rng().normal(size=(out_channels, channels, height, width))
    packed = pack_weight(weight, DType.float16)
    cut = Cut.of(channels)
    assert packed.shape == (height * width * cut.blocks, -(-out_channels // 16) * 16, cut.row)
    assert packed.dtype == np.float16
    expected = weight.astype(np.float16)
    for o in range(out_channels):
        place = o // 16 * 16 + o % 16 // 2 + o % 2 * 8  # even channels, then odd ones
        for c in (0, channels // 2, channels - 1):
            for row, column in ((0, 0), (height - 1, width - 1)):
                step = (row * width + column) * cut.blocks + c // cut.row
                assert packed[step, place, c % cut.row] == expected[o, c, row, column]
    assert np.count_nonzero(packed) == np.count_nonzero(expected)


def test_emission_is_deterministic_and_names_the_launcher() -> None:
    config = CONV2D_HALO.candidates(RESNET)[0].config
    first, second = (CONV2D_HALO.emit("conv_a", RESNET, config) for _ in range(2))
    assert first.text == second.text
    assert "void conv_a(" in first.text
    assert first.workspace == 0
    assert set(first.headers) == {
        f"fx2ait_conv/{name}.cuh" for name in ("conv2d_halo", "halo_tile", "pair_epilogue")
    }


@pytest.mark.nvcc
@pytest.mark.parametrize(
    ("dtype", "result"), [(DType.float16, DType.float16), (DType.bfloat16, DType.float32)]
)
def test_best_candidate_compiles_cleanly(dtype: DType, result: DType, tmp_path: Path) -> None:
    problem = convolution(64, (56, 56), 64, batch=256, dtype=dtype, result=result, **PADDED)
    assert_compiles_tightly(CONV2D_HALO, problem, CONV2D_HALO.candidates(problem)[0].config, tmp_path)


@pytest.mark.nvcc
@pytest.mark.slow
@pytest.mark.parametrize("tile", TILES, ids=str)
@pytest.mark.parametrize("staged", [False, True])
def test_every_tile_compiles_cleanly(tile: HaloTile, staged: bool, tmp_path: Path) -> None:
    problem = convolution(32, (56, 56), 128, batch=1, **PADDED)
    fitted = replace(tile, staged=tile.teams * staged).fitted(problem)
    assert fitted is not None
    assert_compiles_tightly(CONV2D_HALO, problem, fitted, tmp_path)


def random_launcher(choose: random.Random) -> Launcher:
    """Some convolution that the kernel serves, in some configuration."""
    while True:
        kernel = (choose.choice([1, 2, 3, 3, 3, 5]), choose.choice([1, 2, 3, 3, 3, 7]))
        dilation = (choose.choice([1, 1, 2, 3]), choose.choice([1, 1, 2]))
        size = (choose.randint(1, 70), choose.randint(1, 70))
        padding = tuple(choose.randint(0, 4) for _ in range(4))
        reach = [(k - 1) * d for k, d in zip(kernel, dilation, strict=True)]
        if size[0] + sum(padding[:2]) <= reach[0] or size[1] + sum(padding[2:]) <= reach[1]:
            continue
        dtype = choose.choice([DType.float16, DType.bfloat16])
        problem = convolution(
            choose.choice([8, 16, 24, 32, 40, 64, 64, 96, 128]),
            size,
            choose.choice([8, 24, 40, 64, 72, 128, 200]),
            kernel,
            dtype=dtype,
            result=choose.choice([dtype, DType.float32]),
            padding=padding,
            dilation=dilation,
        )
        problem = problem if choose.random() < 0.7 else without_residual(problem)
        if CONV2D_HALO.supports(problem) is None:
            return Launcher(CONV2D_HALO, problem, choose.choice(list(cuda_halo.configurations(problem))))


TORCH = {DType.float16: torch.float16, DType.bfloat16: torch.bfloat16, DType.float32: torch.float32}


def assert_matches_torch(library: LauncherLibrary, index: int, batch: int, device: str = "cuda") -> None:
    """Launcher ``index`` equals PyTorch's convolution in float64 but for the rounding of its result,
    writes all of it and nothing else, and gives the same bits again."""
    problem = library.entries[index].problem
    shape = ConvShape.of(problem)
    dtype, result = TORCH[problem.operands[0].type.dtype], TORCH[problem.result.dtype]
    height, width = int(shape.out_height), int(shape.out_width)
    options: dict[str, Any] = {"device": device, "dtype": dtype}
    source = torch.randn(batch, shape.channels, shape.height, shape.width, **options)
    source = source.contiguous(memory_format=torch.channels_last)
    scale = shape.k**-0.5
    weight = (torch.randn(shape.out_channels, shape.channels, shape.kernel_h, shape.kernel_w) * scale).to(
        dtype
    )
    packed = library.packed(index, 1, weight.float().numpy())
    filters = torch.from_numpy(packed.view(np.uint8).copy()).to(device)
    bias = torch.randn(shape.out_channels, device=device)
    residual = torch.randn(batch, height, width, shape.out_channels, **options)
    pad = (shape.pad_left, shape.pad_right, shape.pad_top, shape.pad_bottom)
    expected = torch.nn.functional.conv2d(
        torch.nn.functional.pad(source.double(), pad),
        weight.to(device).double(),
        bias.double(),
        dilation=(shape.dilation_h, shape.dilation_w),
    ).permute(0, 2, 3, 1)
    pointers = [source.data_ptr(), filters.data_ptr(), bias.data_ptr()]
    if len(problem.epilogue_operands) > 1:
        expected = torch.relu(expected + residual.double())
        pointers.append(residual.data_ptr())
    guard = 256
    found = []
    for _ in range(2):
        buffer = torch.full((expected.numel() + 2 * guard,), torch.nan, device=device, dtype=result)
        inside = buffer[guard:-guard]
        library.call(index, [inside.data_ptr(), *pointers], {"batch": batch})
        found.append(inside.view(expected.shape).double().cpu())
        assert buffer[:guard].isnan().all() and buffer[-guard:].isnan().all(), "writes beyond its result"
    exact = expected.cpu()
    assert torch.equal(found[0], found[1])
    # Tensor cores cut sums off where they should round: an error of a bit for each 16 products.
    products = shape.k / 16 * 2**-22
    tolerance = {torch.float16: 1e-3, torch.bfloat16: 8e-3, torch.float32: 1e-5}[result] + products
    name = f"{library.entries[index].config}: {shape.title}"
    assert not found[0].isnan().any(), name
    assert ((found[0] - exact).abs() <= tolerance * (exact.abs() + 0.5)).all(), name


@pytest.mark.cuda
@pytest.mark.nvcc
@pytest.mark.slow
def test_results_match_pytorch(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    choose = random.Random(seed)
    entries = [random_launcher(choose) for _ in range(24)]
    entries += [
        Launcher(CONV2D_HALO, RESNET, tile)
        for tile in choose.sample(list(cuda_halo.configurations(RESNET)), 8)
    ]
    library = LauncherLibrary(tmp_path, cuda_backend(), entries)
    for index in range(len(entries)):
        for batch in (1, choose.randint(2, 40)):
            assert_matches_torch(library, index, batch)
