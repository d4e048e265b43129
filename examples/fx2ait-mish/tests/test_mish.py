"""The plugin by the core's conformance checks, and compiled against PyTorch."""

from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("fx2ait_mish", reason="pip install -e examples/fx2ait-mish")

from fx2ait_mish.channel_shuffle import CONVERTER

import fx2ait_core as fx2ait
from fx2ait_core.testing.calls import float32, record_call
from fx2ait_core.testing.conformance import check_plugin
from fx2ait_core.testing.matching import TARGETS, Case, assert_matches_pytorch


class Block(nn.Module):
    """Mish behind a convolution, behind a shuffle, and alone."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, channels, 3, padding=1)
        self.shuffle = nn.ChannelShuffle(groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.mish(self.convolution(x))
        shuffled = self.shuffle(x)
        return nn.functional.mish(shuffled + x) * nn.functional.mish(x)


def test_conformance() -> None:
    check_plugin("mish")


@pytest.mark.parametrize("target", TARGETS)
def test_matches_pytorch(target: str) -> None:
    cases = [
        Case(Block(channels, groups), ((1, 3, 9, 7),)) for channels, groups in ((8, 2), (12, 3), (15, 5))
    ]
    assert_matches_pytorch(cases, target=target)


@pytest.mark.parametrize(("target", "arch"), [("cpu", None), ("cuda", "sm_90a")])
def test_mish_is_fused_into_the_convolution(target: str, arch: str | None, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Mish()).eval()
    fx2ait.emit_only(model, (torch.randn(1, 3, 8, 8),), target=target, arch=arch, dump_ir=tmp_path)
    final = sorted(tmp_path.iterdir())[-1].read_text()
    (convolution,) = [line for line in final.splitlines() if "= conv.conv2d(" in line]
    assert "epilogue" in convolution and "fx::log1p" in convolution


@pytest.mark.nvcc
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_compiles_for_cuda(arch: str) -> None:
    model = nn.Sequential(nn.ChannelShuffle(3), nn.Mish()).eval()
    fx2ait.compile(
        model, (torch.randn(2, 12, 5, 5),), target="cuda", arch=arch, dynamic_batch=(1, 4), tune=False
    )


@pytest.mark.parametrize(
    ("shape", "groups", "reason"), [((1, 4, 5), 2, "N, C, H, W"), ((1, 5, 4, 4), 2, "does not divide")]
)
def test_declined_with_a_reason(shape: tuple[int, ...], groups: int, reason: str) -> None:
    recorded = record_call("aten.channel_shuffle.default", self=float32(*shape), groups=groups)
    assert reason in recorded.decline([CONVERTER])
