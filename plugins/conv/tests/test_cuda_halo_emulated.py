"""``conv2d_halo``'s own code, run on the CPU: copies and products happen at any time that they may."""

from __future__ import annotations

import pytest
from cuda_problems import convolution
from emulated_cuda import AVAILABLE
from fx2ait_conv.cuda_halo import CONV2D_HALO, HaloTile
from test_cuda_emulated import check

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not AVAILABLE, reason="the emulation needs g++ on x86-64"),
]


@pytest.mark.parametrize("multiprocessors", [3, 40, 132])
@pytest.mark.parametrize(
    ("channels", "size", "residual", "staged"),
    [(64, 56, False, 0), (64, 56, True, 0), (64, 56, True, 2), (128, 28, False, 0), (128, 28, True, 0)],
)
def test_two_teams(channels: int, size: int, residual: bool, staged: int, multiprocessors: int) -> None:
    """Blocks that walk over many tiles, or few, whose warpgroups take turns."""
    problem = convolution(
        channels, (size, size), channels, padding=(1, 1, 1, 1), residual=residual,
        figures={"multiprocessors": multiprocessors},
    )  # fmt: skip
    tile = HaloTile(8, 2, alternate=True, resident=1, staged=staged).fitted(problem)
    assert tile is not None
    check(CONV2D_HALO, problem, tile, seed=channels + size + staged, batch=2)
