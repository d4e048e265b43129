"""The plugin by the core's conformance checks, and compiled against PyTorch."""

import pytest
import torch
from torch import nn

pytest.importorskip("fx2ait_mish", reason="pip install -e examples/fx2ait-mish")

from fx2ait_core.testing.calls import float32, record_call
from fx2ait_core.testing.conformance import check_plugin
from fx2ait_core.testing.matching import TARGETS, Case, assert_matches_pytorch
from fx2ait_mish.channel_shuffle import CONVERTER


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


def test_mish_is_fused_into_the_convolution() -> None:
    from fx2ait_core.compiler import lower_model  # noqa: PLC0415  (imports torch's exporter)

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Mish()).eval()
    for target, arch in (("cpu", None), ("cuda", "sm_90a")):
        lowered = lower_model(model, (torch.randn(1, 3, 8, 8),), target=target, arch=arch)
        kinds = [operator.kind for operator in lowered.graph.operators]
        assert "core.pointwise" not in kinds or kinds.count("conv.conv2d") == 1
        (convolution,) = [o for o in lowered.graph.operators if o.kind == "conv.conv2d"]
        assert "mish.mish" in [step.kind for step in convolution.epilogue.steps]


@pytest.mark.parametrize(
    ("shape", "groups", "reason"), [((1, 4, 5), 2, "N, C, H, W"), ((1, 5, 4, 4), 2, "does not divide")]
)
def test_declined_with_a_reason(shape: tuple[int, ...], groups: int, reason: str) -> None:
    recorded = record_call("aten.channel_shuffle.default", self=float32(*shape), groups=groups)
    assert reason in recorded.decline([CONVERTER])
