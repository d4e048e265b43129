"""Arithmetic with broadcasting and scalars, and shape operators, compared with PyTorch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from fx2ait_core.testing.matching import TARGETS, Case, assert_matches_pytorch

Function = Callable[..., torch.Tensor]

UNARY: list[Function] = [
    torch.exp,
    lambda x: torch.sqrt(torch.abs(x)),
    lambda x: -x,
    torch.abs,
    lambda x: x**2,
    lambda x: x**3.0,
    lambda x: torch.abs(x) ** 0.5,
    lambda x: x + 2.5,
    lambda x: x - 1,
    lambda x: 3 - x,
    lambda x: x * 0.25,
    lambda x: x / 3,
    lambda x: x * 1e-46 + torch.clamp(x, -1e39, 1e39),
    lambda x: 2.0 / (torch.abs(x) + 1.0),
    lambda x: torch.add(x, 1.5, alpha=2),
    lambda x: torch.div(x * 4, 3.0, rounding_mode="floor"),
    lambda x: torch.div(x * 4, 3.0, rounding_mode="trunc"),
]
BINARY: list[Function] = [
    lambda x, y: x + y,
    lambda x, y: x - y,
    lambda x, y: x * y,
    lambda x, y: x / (torch.abs(y) + 1.0),
    torch.maximum,
    torch.minimum,
    lambda x, y: torch.add(x, y, alpha=0.5),
    lambda x, y: torch.sub(x, y, alpha=-2),
    lambda x, y: torch.pow(torch.abs(x) + 0.5, y),
]
SHAPES: list[Function] = [
    lambda x: torch.flatten(x, 1) * 2,
    lambda x: x.view(x.shape[0], -1, 2) + 1,
    lambda x: x.reshape(x.shape[0], 4, -1),
    lambda x: x.permute(0, 2, 3, 1) * 1.5,
    lambda x: x.transpose(1, 3).contiguous() + 1,
    lambda x: (x * 2).permute(0, 3, 1, 2).reshape(x.shape[0], -1),
    lambda x: x.unsqueeze(1).squeeze(1) + 1,
    lambda x: x.unsqueeze(-1) * 2,
    lambda x: torch.cat([x, x * 2], 1),
    lambda x: torch.cat([x + 1, x, x * 3], 3),
    lambda x: x.mean((2, 3), keepdim=True).squeeze(3).squeeze(2),
    lambda x: x.flatten(),
    lambda x: torch.stack([x, x * 2], 1),
    lambda x: torch.stack([x + 1, x], -1),
    lambda x: x.unflatten(1, (2, -1)).movedim(1, -1) * 2,
    lambda x: (x * x.mean((2, 3), keepdim=True).expand_as(x)).mT,
    lambda x: (x * 2).mean(1, keepdim=True).expand(-1, 3, -1, -1),
    lambda x: x.mean(2, keepdim=True).broadcast_to(x.shape) - x,
    lambda x: (x + 1).transpose_(1, 2).unsqueeze_(1),
    lambda x: torch.relu(torch.cat([x, x * 2, x[None].reshape(-1, 4, 6, 2)], 0)),
]


class ClassToken(nn.Module):
    """A constant repeated along the dynamic batch and put in front of a sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, 1, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)


@pytest.mark.parametrize("target", TARGETS)
def test_unary_arithmetic(target: str) -> None:
    assert_matches_pytorch([Case(f, ((1, 5, 3),)) for f in UNARY], target=target)


@st.composite
def broadcast_shapes(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two shapes with a batch that broadcast together."""
    rank = draw(st.integers(2, 4))
    full = [1, *(draw(st.integers(1, 6)) for _ in range(rank - 1))]
    one = [full[0], *(size if draw(st.booleans()) else 1 for size in full[1:])]
    two = [full[0], *(size if draw(st.booleans()) else 1 for size in full[1:])]
    return tuple(one), tuple(two)


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@given(shapes=st.lists(broadcast_shapes(), min_size=len(BINARY) * 2, max_size=len(BINARY) * 2))
@settings(max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_binary_arithmetic_broadcasts(
    target: str, shapes: list[tuple[tuple[int, ...], tuple[int, ...]]]
) -> None:
    cases = [Case(BINARY[i % len(BINARY)], pair) for i, pair in enumerate(shapes)]
    assert_matches_pytorch(cases, target=target)


@pytest.mark.parametrize("target", TARGETS)
def test_shape_operators(target: str) -> None:
    cases = [Case(f, ((1, 4, 6, 2),)) for f in SHAPES]
    assert_matches_pytorch([*cases, Case(ClassToken(), ((1, 4, 6),))], target=target)
