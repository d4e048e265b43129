"""Matrix products over the whole argument range, compared with PyTorch."""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from fx2ait_core.testing.matching import TARGETS, Case, assert_matches_pytorch

SIZES = [1, 2, 3, 7, 8, 15, 16, 31, 64, 65, 100, 512]


class AddMM(nn.Module):
    def __init__(self, inner: int, outer: int, beta: float, alpha: float) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(outer))
        self.weight = nn.Parameter(torch.randn(inner, outer) / inner**0.5)
        self.beta, self.alpha = beta, alpha

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.addmm(self.bias, x, self.weight, beta=self.beta, alpha=self.alpha)


class MM(nn.Module):
    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inner, outer) / inner**0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.mm(x, self.weight)


class MatMul(MM):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x @ self.weight)


class Products(MM):
    """Neither factor is a constant."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.mm(x * 0.5, torch.tanh(self.weight))


@st.composite
def products(draw: st.DrawFn) -> Case:
    inner, outer = draw(st.sampled_from(SIZES)), draw(st.sampled_from(SIZES))
    kind = draw(st.sampled_from(["linear", "linear", "linear 3d", "addmm", "mm", "matmul"]))
    if kind == "addmm":
        return Case(
            AddMM(inner, outer, draw(st.sampled_from([1, 0.5])), draw(st.sampled_from([1, 2.0]))),
            ((1, inner),),
        )
    if kind == "mm":
        return Case(MM(inner, outer), ((1, inner),))
    if kind == "matmul":
        return Case(MatMul(inner, outer), ((1, 3, inner),))
    layer: nn.Module = nn.Linear(inner, outer, bias=draw(st.booleans()))
    if draw(st.booleans()):
        layer = nn.Sequential(layer, nn.GELU(), nn.Linear(outer, 5))
    return Case(layer, ((1, inner),) if kind == "linear" else ((1, 3, inner),))


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
@given(cases=st.lists(products(), min_size=16, max_size=16))
@settings(max_examples=3, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_products_match_pytorch(target: str, cases: list[Case]) -> None:
    assert_matches_pytorch(cases, target=target, batches=(2, 1, 70))


@pytest.mark.parametrize("target", TARGETS)
def test_a_product_of_two_activations(target: str) -> None:
    assert_matches_pytorch([Case(Products(24, 40), ((1, 24),))], target=target)
