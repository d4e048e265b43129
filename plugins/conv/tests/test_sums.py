"""A sum of two convolutions becomes one operator where a kernel takes it, and stays as it is elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch
from fx2ait_conv.operators import Conv2dAttributes, Conv2dSum, Conv2dSumAttributes
from torch import nn

import fx2ait_core as fx2ait
from fx2ait_core.sdk import IRError
from fx2ait_core.testing.calls import float32
from fx2ait_core.testing.matching import Case, assert_matches_pytorch


class Sum(nn.Module):
    """``after(first(y) + second(x))`` with y computed from x, as a residual block that changes shape."""

    def __init__(self, first: nn.Module, second: nn.Module, after: Callable = torch.relu) -> None:
        super().__init__()
        self.first, self.second, self.after = first, second, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(x) * 1.5
        return self.after(self.first(torch.sigmoid(x)) + self.second(x))


def kernels(
    module: nn.Module, channels: int = 64, arch: str = "sm_90a", precision: str = "fp16"
) -> list[str]:
    """Kernel families of the engine for ``module``, chosen without a device."""
    options = {"target": "cuda", "arch": arch} if arch != "cpu" else {"target": "cpu"}
    tree = fx2ait.emit_only(module, torch.randn(2, channels, 14, 14), precision=precision, **options)
    return [kernel["kernel"] for kernel in json.loads(tree.text("manifest.json"))["plan"]["kernels"]]


def block(channels: int = 64, out_channels: int = 128, groups: int = 1, **options: bool) -> Sum:
    first = nn.Conv2d(channels, out_channels, 3, stride=2, padding=1, groups=groups, **options)
    return Sum(first, nn.Conv2d(channels, out_channels, 1, stride=2, **options))


def test_a_block_with_a_projected_shortcut_is_merged() -> None:
    norms = Sum(
        nn.Sequential(nn.Conv2d(64, 128, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(128)),
        nn.Sequential(nn.Conv2d(64, 128, 1, stride=2, bias=False), nn.BatchNorm2d(128)),
    )
    for module in (block(), block(bias=False), norms):
        used = kernels(module.eval())
        assert "conv2d_sum_wgmma" in used
        assert "conv2d_wgmma" not in used


class SharedSummand(Sum):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(x)
        y = self.second(x)
        return torch.relu(self.first(x) + y) * y


class ScaledSum(Sum):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(x)
        return torch.add(self.first(x), self.second(x), alpha=0.5)


class BroadcastSum(Sum):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(torch.relu(x)) + self.second(torch.relu(x).mean((2, 3), keepdim=True))


def parts() -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 64, 1)


@pytest.mark.parametrize(
    "module",
    [
        SharedSummand(*parts()),
        ScaledSum(*parts()),
        BroadcastSum(*parts()),
        Sum(parts()[0], nn.Identity()),
        block(groups=2),
    ],
    ids=["result read elsewhere", "scaled", "broadcast", "no convolution", "groups"],
)
def test_other_sums_are_left(module: nn.Module) -> None:
    assert "conv2d_sum_wgmma" not in kernels(module.eval())


def test_channels_that_no_kernel_takes_are_left() -> None:
    assert "conv2d_sum_wgmma" not in kernels(block(channels=12, out_channels=20), channels=12)


@pytest.mark.parametrize(("arch", "precision"), [("sm_80", "fp16"), ("sm_90a", "fp32"), ("cpu", "fp32")])
def test_without_a_kernel_for_it_nothing_is_merged(arch: str, precision: str) -> None:
    assert "conv2d_sum_wgmma" not in kernels(block(), arch=arch, precision=precision)


def test_the_two_results_must_agree() -> None:
    attributes = Conv2dSumAttributes(Conv2dAttributes(padding=(1, 1, 1, 1)), Conv2dAttributes(stride=(2, 2)))
    operands = [float32(1, 8, 6, 6), float32(4, 8, 3, 3), float32(1, 8, 6, 6), float32(4, 8, 1, 1)]
    with pytest.raises(IRError, match="must be of one type"):
        Conv2dSum.infer(operands, attributes)
    with pytest.raises(IRError, match="not 3 operands"):
        Conv2dSum.infer(operands[:3], attributes)


CASES = [
    Case(Sum(nn.Conv2d(64, 128, 3, 2, 1), nn.Conv2d(64, 128, 1, 2)), ((1, 64, 15, 13),)),
    Case(Sum(nn.Conv2d(8, 24, 5, 1, 2), nn.Conv2d(8, 24, 3, 1, 1), nn.functional.silu), ((1, 8, 11, 9),)),
    Case(Sum(nn.Conv2d(256, 512, 1, 2), nn.Conv2d(256, 512, 3, 2, 1, bias=False)), ((1, 256, 14, 14),)),
    Case(Sum(nn.Conv2d(72, 40, 3, 1, 2, 2), nn.Conv2d(72, 40, 1)), ((1, 72, 7, 10),)),
    Case(Sum(nn.Conv2d(512, 512, 3, 1, 1), nn.Conv2d(512, 512, 1)), ((1, 512, 7, 7),)),
]


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_sums_match_pytorch(precision: str) -> None:
    assert_matches_pytorch(CASES, target="cuda", precision=precision, batches=(2, 1, 9))
