"""Activations against PyTorch: every overload, converted, compiled and evaluated, NaN included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fx2ait_activation.converters import CONVERTERS
from fx2ait_activation.operators import EXPRESSIONS

from fx2ait_core.sdk import DType, tensor_type
from fx2ait_core.target.builtin import fx2ait_targets
from fx2ait_core.testing.calls import float32, record_call
from fx2ait_core.testing.conformance import check_plugin
from fx2ait_core.testing.expressions import ExpressionLibrary, ScalarCase

INFINITY = float("inf")

CASES: dict[str, list[dict[str, Any]]] = {
    "relu": [{}],
    "relu6": [{}],
    "hardtanh": [{}, {"min_val": -0.25, "max_val": 2.0}, {"min_val": 0, "max_val": 6}],
    "clamp": [
        {"min": -0.5, "max": 1.5},
        {"min": -1},
        {"max": 2},
        {"min": 1.0, "max": -1.0},
        {"min": -INFINITY, "max": INFINITY},
    ],
    "clamp_min": [{"min": -0.5}],
    "clamp_max": [{"max": 0.5}],
    "leaky_relu": [{}, {"negative_slope": 0.3}, {"negative_slope": -0.3}],
    "elu": [
        {},
        {"alpha": 1.7},
        {"alpha": 1.6732632423543772, "scale": 1.0507009873554805},
        {"input_scale": 0.5},
    ],
    "sigmoid": [{}],
    "tanh": [{}],
    "silu": [{}],
    "hardsigmoid": [{}],
    "hardswish": [{}],
    "gelu": [{}, {"approximate": "tanh"}],
    "clip": [{"min": -0.5, "max": 1.5}],
    "selu": [{}],
    "celu": [{}, {"alpha": 0.3}, {"alpha": -2.0}],
}


def test_conformance() -> None:
    check_plugin("activation")


def sample() -> np.ndarray:
    spread = np.random.default_rng().standard_normal(4000).astype(np.float32) * 4
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-8, -1e-8, 80.0, -80.0, 6.0, -3.0, 3.0, 1e30, -1e30]
    return np.concatenate([spread, np.array(special, np.float32)])


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ExpressionLibrary:
    """Every case of the table as converted, in one library."""
    cases = []
    for name, variants in CASES.items():
        for arguments in variants:
            recorded = record_call(f"aten.{name}.default", self=float32(4), **arguments)
            recorded.convert(CONVERTERS)
            (operator,) = recorded.operators
            expression = next(e for e in EXPRESSIONS if e.operator is type(operator))
            cases.append(ScalarCase(expression, operator.attributes))
    cpu = next(backend for backend in fx2ait_targets() if backend.name == "cpu")
    folder: Path = tmp_path_factory.mktemp("activations")
    return ExpressionLibrary(folder, cpu, cases)


NUMBERED = [(name, arguments) for name, variants in CASES.items() for arguments in variants]


@pytest.mark.parametrize("index", range(len(NUMBERED)), ids=[f"{n}-{a}" for n, a in NUMBERED])
def test_matches_pytorch(library: ExpressionLibrary, index: int) -> None:
    name, arguments = NUMBERED[index]
    x = sample()
    expected = getattr(torch.ops.aten, name).default(torch.from_numpy(x).double(), **arguments).numpy()
    found = library.evaluate(index, x)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("name", "arguments"), NUMBERED)
def test_in_place_variants_convert_alike(name: str, arguments: dict[str, Any]) -> None:
    functional = record_call(f"aten.{name}.default", self=float32(2, 3), **arguments)
    in_place = record_call(f"aten.{name}_.default", self=float32(2, 3), **arguments)
    for recorded in (functional, in_place):
        result = recorded.convert(CONVERTERS)
        assert result.type == float32(2, 3)
        assert recorded.call.result_shape == (2, 3)
    assert [type(o) for o in functional.operators] == [type(o) for o in in_place.operators]
    assert [o.attributes for o in functional.operators] == [o.attributes for o in in_place.operators]


def test_clamp_to_tensors_broadcasts() -> None:
    recorded = record_call("aten.clamp.Tensor", self=float32(2, 3), min=float32(3), max=float32(4, 2, 3))
    result = recorded.convert(CONVERTERS)
    assert result.type.shape == recorded.call.result_shape == (4, 2, 3)
    assert [o.kind for o in recorded.operators] == [
        "activation.clamp_min_tensor",
        "activation.clamp_max_tensor",
    ]


@pytest.mark.parametrize(
    ("overload", "arguments", "kind"),
    [
        ("aten.clamp_min.Tensor", {"min": float32(3)}, "activation.clamp_min_tensor"),
        ("aten.clamp_max_.Tensor", {"max": float32(3)}, "activation.clamp_max_tensor"),
        ("aten.clip.Tensor", {"max": float32(3)}, "activation.clamp_max_tensor"),
        ("aten.special_expit.default", {}, "activation.sigmoid"),
    ],
)
def test_other_names_convert_alike(overload: str, arguments: dict[str, Any], kind: str) -> None:
    recorded = record_call(overload, self=float32(2, 3), **arguments)
    assert recorded.convert(CONVERTERS).type.shape == (2, 3)
    assert [operator.kind for operator in recorded.operators] == [kind]


def test_clamp_without_limits_is_the_identity() -> None:
    recorded = record_call("aten.clamp.Tensor", self=float32(2))
    assert recorded.convert(CONVERTERS) is recorded.call["self"]


@pytest.mark.parametrize(
    ("overload", "arguments", "reason"),
    [
        ("aten.relu.default", {"self": tensor_type((2,), DType.int64)}, "floating point"),
        ("aten.gelu.default", {"approximate": "quick"}, "approximate"),
        ("aten.clamp.Tensor", {"min": tensor_type((2,), DType.float16)}, "dtypes must agree"),
        ("aten.celu.default", {"alpha": 0}, "alpha, which is 0"),
        ("aten.leaky_relu.default", {"negative_slope": object()}, "known ahead of time"),
    ],
)
def test_declined_with_a_reason(overload: str, arguments: dict[str, Any], reason: str) -> None:
    assert reason in record_call(overload, **{"self": float32(2), **arguments}).decline(CONVERTERS)
