"""The plugin by the core's conformance checks, and compiled against PyTorch."""

import pytest
import torch
from torch import nn

pytest.importorskip("fx2ait_mish", reason="pip install -e examples/fx2ait-mish")

from fx2ait_mish.channel_shuffle import CONVERTER

from fx2ait_core.compiler import compile, lower_model
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
def test_mish_is_fused_into_the_convolution(target: str, arch: str | None) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Mish()).eval()
    lowered = lower_model(model, (torch.randn(1, 3, 8, 8),), target=target, arch=arch)
    (convolution,) = [operator for operator in lowered.graph.operators if operator.kind == "conv.conv2d"]
    assert "mish.mish" in [step.kind for step in convolution.epilogue.steps]


@pytest.mark.nvcc
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_compiles_for_cuda(arch: str) -> None:
    model = nn.Sequential(nn.ChannelShuffle(3), nn.Mish()).eval()
    compile(model, (torch.randn(2, 12, 5, 5),), target="cuda", arch=arch, dynamic_batch=(1, 4), tune=False)


@pytest.mark.parametrize(
    ("shape", "groups", "reason"), [((1, 4, 5), 2, "N, C, H, W"), ((1, 5, 4, 4), 2, "does not divide")]
)
def test_declined_with_a_reason(shape: tuple[int, ...], groups: int, reason: str) -> None:
    recorded = record_call("aten.channel_shuffle.default", self=float32(*shape), groups=groups)
    assert reason in recorded.decline([CONVERTER])
