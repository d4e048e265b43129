"""``conv2d_wgmma``'s own code, run on the CPU: copies, products and stores between the blocks of a cluster
happen at any time that they may."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cuda_problems import convolution
from emulated_cuda import AVAILABLE
from fx2ait_conv.cuda_wgmma import CONV2D_WGMMA
from fx2ait_conv.cuda_wgmma_tile import Tile
from test_cuda_emulated import check

from fx2ait_core.sdk import DType, Problem

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not AVAILABLE, reason="the emulation needs g++ on x86-64"),
]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(
    ("images", "tile"),
    [
        (2, Tile(64, 128, 1, False, 1, 8, 2)),
        (2, Tile(128, 128, 2, False, 1, 5, 4)),
        (2, Tile(64, 128, 1, False, 1, 4, 3)),
        (2, Tile(64, 128, 1, False, 1, 3, 4)),
        (2, Tile(128, 128, 2, False, 1, 4, 3)),
        (4, Tile(64, 128, 2, True, 1, 9)),
        (4, Tile(128, 128, 2, False, 1, 7)),
    ],
    ids=str,
)
def test_tiles(images: int, tile: Tile, residual: bool) -> None:
    """Clusters that share a tile's sum, and blocks that walk over tiles."""
    problem = convolution(
        128, (7, 7), 136, padding=(1, 1, 1, 1), residual=residual, figures={"multiprocessors": 3}
    )
    check(CONV2D_WGMMA, problem, tile, seed=tile.splits, batch=images)


@pytest.mark.parametrize("tile", [Tile(64, 64, 2, True, 1, 5), Tile(128, 128, 2, False, 1, 7)])
def test_fetched_operands(tile: Tile) -> None:
    """Residuals that pass through the ring, whose stages the next tile takes."""
    problem = convolution(
        64, (16, 16), 64, padding=(1, 1, 1, 1), residual=True, figures={"multiprocessors": 1}
    )
    check(CONV2D_WGMMA, problem, replace(tile, fetches=True), seed=tile.pixels, batch=2)


def sharing_problem(dtype: DType = DType.float16) -> Problem:
    """63 pixels an image and 72 channels, so that some of a cluster's tiles lie outside the result."""
    return convolution(72, (9, 7), 72, padding=(1, 1, 1, 1), dtype=dtype, figures={"multiprocessors": 5})


@pytest.mark.parametrize(
    ("images", "tile", "dtype"),
    [
        # Filters by 2 and by 4 blocks, with each number of splits.
        (2, Tile(64, 64, 1, False, 1, 3, filter_sharers=2), DType.float16),
        (3, Tile(64, 96, 1, False, 1, 4, 2, filter_sharers=2), DType.bfloat16),
        (2, Tile(64, 64, 1, False, 1, 3, 3, filter_sharers=2), DType.float16),
        (2, Tile(64, 32, 1, False, 1, 3, 4, filter_sharers=2), DType.bfloat16),
        (3, Tile(64, 64, 1, False, 1, 3, filter_sharers=4), DType.float16),
        (3, Tile(64, 96, 1, False, 1, 3, 2, filter_sharers=4), DType.bfloat16),
        # Pixels, and both.
        (2, Tile(64, 64, 1, False, 1, 4, 3, pixel_sharers=2), DType.float16),
        (1, Tile(64, 32, 1, False, 1, 3, 2, pixel_sharers=4), DType.bfloat16),
        (3, Tile(64, 32, 1, False, 1, 3, 2, filter_sharers=2, pixel_sharers=2), DType.float16),
        # Blocks that walk over tiles.
        (3, Tile(64, 64, 2, True, 1, 4, filter_sharers=2), DType.bfloat16),
        (3, Tile(128, 64, 2, False, 1, 4, filter_sharers=2), DType.float16),
        (3, Tile(64, 32, 1, False, 1, 3, pixel_sharers=2), DType.bfloat16),
    ],
    ids=str,
)
def test_shared_filters_and_pixels(images: int, tile: Tile, dtype: DType) -> None:
    """Clusters of which each block brings a part of a stage to others."""
    check(CONV2D_WGMMA, sharing_problem(dtype), tile, seed=images, batch=images)


@pytest.mark.parametrize("tile", [Tile(64, 64, 2, True, 1, 5), Tile(128, 128, 2, False, 1, 6)])
def test_fetched_operands_between_shared_stages(tile: Tile) -> None:
    problem = convolution(64, (9, 7), 128, residual=True, figures={"multiprocessors": 2})
    shared = replace(tile, fetches=True, filter_sharers=2)
    check(CONV2D_WGMMA, problem, shared, seed=tile.pixels, batch=6)


@pytest.mark.parametrize(
    ("images", "tile", "dtype"),
    [
        (2, Tile(56, 128, 2, False, 1, 5), DType.bfloat16),
        (3, Tile(40, 64, 2, True, 1, 5), DType.float16),
        # Shares of a tile that differ by a row.
        (2, Tile(40, 128, 2, False, 1, 4, 2), DType.bfloat16),
        (1, Tile(48, 64, 1, False, 1, 3, 3, pixel_sharers=2), DType.float16),
        (2, Tile(48, 64, 1, False, 1, 4, filter_sharers=2), DType.bfloat16),
    ],
    ids=str,
)
@pytest.mark.parametrize("residual", [False, True])
def test_channel_rows(images: int, tile: Tile, dtype: DType, residual: bool) -> None:
    """Filters as rows of the products, with tiles that end behind the last pixel and the last channel."""
    problem = convolution(
        40, (9, 7), 72, padding=(1, 1, 1, 1), dtype=dtype, residual=residual, figures={"multiprocessors": 3}
    )
    check(CONV2D_WGMMA, problem, replace(tile, channel_rows=True), seed=images, batch=images)
