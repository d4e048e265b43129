"""Capture: operators as the model calls them, shared weights shared, the model handed back as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fx2ait_core.capture import capture
from fx2ait_core.errors import CaptureError
from fx2ait_core.ir.dims import DimRange
from fx2ait_core.normalize import normalize

BATCH = {"dynamic": {0: {0: "batch"}}, "symbols": {"batch": DimRange(1, 16)}}


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x))


def overloads(graph: torch.fx.Graph) -> list[str]:
    return [str(node.target) for node in graph.nodes if node.op == "call_function"]


def test_operators_are_not_decomposed() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Dropout())
    captured = capture(model, (torch.randn(2, 3, 8, 8),), **BATCH)
    assert overloads(normalize(captured.graph)) == [
        "aten.conv2d.default",
        "aten.batch_norm.default",
        "aten.relu_.default",
    ]


def test_a_batch_of_one_is_no_constant() -> None:
    captured = capture(nn.Linear(3, 3), (torch.randn(1, 3),), **BATCH)
    assert list(captured.symbol_names.values()) == ["batch"]


def test_training_flags_and_weights_are_left_alone() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval(), nn.Dropout()).train()
    model[1].eval()
    before = [module.training for module in model.modules()]
    weight = model[0].weight.clone()
    capture(model, (torch.randn(2, 3, 8, 8),))
    assert [module.training for module in model.modules()] == before
    assert torch.equal(model[0].weight, weight)


def test_shared_weights_are_one_constant() -> None:
    captured = capture(Tied(), (torch.randn(2, 4),))
    weights = {id(c) for name, c in captured.constants.items() if "weight" in name}
    assert len(weights) == 1


class AddsInPlaceToAView(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        y[:, 0].add_(1)
        return y


def test_writes_that_others_see_are_functionalized() -> None:
    captured = capture(AddsInPlaceToAView(), (torch.randn(2, 4),))
    assert not any(name.split(".")[1].endswith("_") for name in overloads(captured.graph))


class ReadsAfterWriting(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        torch.relu_(y)
        return y + 1


def test_what_is_read_after_a_write_is_its_result() -> None:
    captured = capture(ReadsAfterWriting(), (torch.randn(2, 4),))
    add = next(node for node in captured.graph.nodes if str(node.target).startswith("aten.add"))
    assert str(add.args[0].target) == "aten.relu_.default"


class CountsCalls(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return x * 2


def test_a_model_that_changes_its_buffers_is_refused() -> None:
    with pytest.raises(CaptureError, match="calls"):
        capture(CountsCalls(), (torch.randn(2, 4),))


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x if x.sum() > 0 else -x


def test_control_flow_on_data_is_explained() -> None:
    with pytest.raises(CaptureError, match="data-dependent control flow"):
        capture(Branches(), (torch.randn(2, 4),))


def test_inputs_must_be_tensors() -> None:
    with pytest.raises(CaptureError, match="example input 0 is a int"):
        capture(nn.Identity(), (3,))  # type: ignore[arg-type]


class ToDouble(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.double()


def test_what_no_engine_takes_or_gives_is_refused_at_once() -> None:
    with pytest.raises(CaptureError, match=r"example input 0 is float64; .* \.float\(\)"):
        capture(nn.ReLU(), (torch.randn(2, 3, dtype=torch.float64),))
    with pytest.raises(CaptureError, match="output 0 is float64"):
        capture(ToDouble(), (torch.randn(2, 3),))
    with pytest.raises(CaptureError, match=r"example input 0 of shape \(2, 0\) holds no elements"):
        capture(nn.ReLU(), (torch.randn(2, 0),))


def test_names_must_match_in_number() -> None:
    with pytest.raises(CaptureError, match="2 input names were given for 1"):
        capture(nn.Linear(2, 2), (torch.randn(1, 2),), input_names=["a", "b"])
