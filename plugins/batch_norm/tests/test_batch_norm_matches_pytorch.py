"""Batch norm with calibrated statistics: folded where a neighbour allows it, a kernel where none does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import fx2ait_core as fx2ait
from fx2ait_core.testing.matching import TARGETS, Case, assert_matches_pytorch


def norm(channels: int, affine: bool = True) -> nn.BatchNorm2d:
    """Statistics, scale and shift far from the default ones."""
    made = nn.BatchNorm2d(channels, affine=affine, eps=1e-3)
    assert made.running_mean is not None and made.running_var is not None
    made.running_mean.normal_(0, 2)
    made.running_var.uniform_(0.1, 4)
    if affine:
        nn.init.uniform_(made.weight, -2, 2)
        nn.init.normal_(made.bias)
    return made


class BetweenSums(nn.Module):
    """Nothing to fold into: the norm's operand has two readers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1), norm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return self.norm(x) + x


class SharedConvolution(nn.Module):
    """Two norms on one convolution's weights: folding one must not touch the other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.first, self.second = nn.Conv2d(8, 8, 1), norm(8), norm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(self.conv(x)) * self.second(self.conv(x + 1))


FOLDED = [
    nn.Sequential(nn.Conv2d(8, 16, 3, bias=False), norm(16)),
    nn.Sequential(nn.Conv2d(8, 16, 3, groups=4), norm(16), nn.ReLU()),
    nn.Sequential(nn.Conv2d(8, 16, 3), norm(16, affine=False)),
    SharedConvolution(),
]
ALONE = [norm(8), nn.Sequential(nn.MaxPool2d(2), norm(8), nn.ReLU()), BetweenSums()]


@pytest.mark.parametrize("target", TARGETS)
def test_batch_norm_matches_pytorch(target: str) -> None:
    assert_matches_pytorch([Case(module, ((1, 8, 6, 7),)) for module in [*FOLDED, *ALONE]], target=target)


def test_a_folded_norm_leaves_no_trace() -> None:
    engine = assert_matches_pytorch([Case(FOLDED[0], ((1, 8, 6, 7),))])
    launches = engine.manifest["plan"]["buckets"][-1]["launches"]
    assert [launch["description"].partition(":")[0] for launch in launches] == [
        "conv.conv2d",
        "core.pointwise",
    ]


def test_the_model_is_handed_back_as_it_was() -> None:
    module = nn.Sequential(nn.Conv2d(8, 16, 3), norm(16)).train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    fx2ait.compile(module, torch.randn(2, 8, 6, 6), target="cpu", tune=False)
    assert module.training and module[1].training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
