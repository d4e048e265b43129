"""Every activation, alone and behind a convolution, compared with PyTorch, special values included."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fx2ait_core.testing.matching import TARGETS, Case, assert_matches_pytorch

ACTIVATIONS = [
    nn.ReLU(),
    nn.ReLU(inplace=True),
    nn.ReLU6(),
    nn.Hardtanh(-0.7, 1.3),
    nn.LeakyReLU(0.2),
    nn.ELU(0.8),
    nn.Sigmoid(),
    nn.Tanh(),
    nn.SiLU(),
    nn.Hardsigmoid(),
    nn.Hardswish(),
    nn.GELU(),
    nn.GELU(approximate="tanh"),
]


class Clamp(nn.Module):
    def __init__(self, low: float | None, high: float | None) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.clamp(x * 1.0, self.low, self.high)


ALL = [*ACTIVATIONS, Clamp(-0.5, None), Clamp(None, 0.25), Clamp(-1.0, 1.0)]


def wide(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape) * torch.empty(shape).uniform_(0, 6)


def special(shape: tuple[int, ...]) -> torch.Tensor:
    x = torch.randn(shape)
    x.view(-1)[:6] = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 88.0])
    return x


class Apart(nn.Module):
    """Out of place, so that the caller's input is not written to."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.activation(x * 1.0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("make", [wide, special], ids=["finite", "special"])
def test_alone(target: str, make: object) -> None:
    cases = [Case(Apart(activation), ((1, 7, 5),), make) for activation in ALL]  # type: ignore[arg-type]
    assert_matches_pytorch(cases, target=target)


@pytest.mark.parametrize("target", TARGETS)
def test_fused_into_a_convolution(target: str) -> None:
    cases = [
        Case(nn.Sequential(nn.Conv2d(8, 16, 3, padding=1), activation), ((1, 8, 6, 5),)) for activation in ALL
    ]
    engine = assert_matches_pytorch(cases, target=target)
    launches = engine.manifest["plan"]["buckets"][-1]["launches"]
    assert sum("core.pointwise" in launch["description"] for launch in launches) == len(ALL), (
        "every activation must be in its convolution's epilogue; only the outputs' layout is converted"
    )
