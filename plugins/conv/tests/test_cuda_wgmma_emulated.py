"""``conv2d_wgmma``'s own code, run on the CPU: copies, products and stores between the blocks of a cluster
happen at any time that they may."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cuda_problems import convolution
from emulated_cuda import AVAILABLE
from fx2ait_conv.cuda_wgmma import CONV2D_WGMMA, Tile
from test_cuda_emulated import check

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not AVAILABLE, reason="the emulation needs g++ on x86-64"),
]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(
    ("channels", "size", "tile"),
    [
        (256, 14, Tile(64, 128, 1, False, 1, 8, 2)),
        (256, 14, Tile(128, 128, 2, False, 1, 5, 4)),
        (512, 7, Tile(64, 128, 1, False, 1, 8, 3)),
        (512, 7, Tile(64, 128, 1, False, 1, 8, 4)),
        (512, 7, Tile(128, 128, 2, False, 1, 4, 3)),
        (256, 14, Tile(64, 128, 2, True, 1, 9)),
        (256, 14, Tile(128, 128, 2, False, 1, 7)),
    ],
)
def test_tiles(channels: int, size: int, tile: Tile, residual: bool) -> None:
    """Clusters that share a tile's sum, and blocks that walk over tiles."""
    problem = convolution(
        channels, (size, size), 256, padding=(1, 1, 1, 1), residual=residual, figures={"multiprocessors": 3}
    )
    check(CONV2D_WGMMA, problem, tile, seed=channels + size, batch=2)


@pytest.mark.parametrize("tile", [Tile(64, 64, 2, True, 1, 5), Tile(128, 128, 2, False, 1, 7)])
def test_fetched_operands(tile: Tile) -> None:
    """Residuals that pass through the ring, whose stages the next tile takes."""
    problem = convolution(
        64, (16, 16), 64, padding=(1, 1, 1, 1), residual=True, figures={"multiprocessors": 1}
    )
    check(CONV2D_WGMMA, problem, replace(tile, fetches=True), seed=tile.pixels, batch=2)
