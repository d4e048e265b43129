"""Conversion of batch normalization against PyTorch, and what is declined."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fx2ait_batch_norm.converters import CONVERTERS
from hypothesis import given, settings
from hypothesis import strategies as st

from fx2ait_core.sdk import Constant
from fx2ait_core.testing.calls import RecordedCall, float32, record_call

OVERLOADS = ["aten.batch_norm.default", "aten._native_batch_norm_legit_no_training.default"]


def record(
    overload: str, shape: tuple[int, ...], statistics: dict[str, np.ndarray | None], **more: object
) -> RecordedCall:
    rest: dict[str, object] = {"momentum": 0.1, "eps": 1e-5}
    if overload == "aten.batch_norm.default":
        rest |= {"training": False, "cudnn_enabled": True}
    return record_call(overload, input=float32(*shape), **statistics, **{**rest, **more})


def random_statistics(channels: int, affine: bool = True) -> dict[str, np.ndarray | None]:
    """Calibrated, not default, statistics."""
    generator = np.random.default_rng()

    def normal() -> np.ndarray:
        return generator.standard_normal(channels).astype(np.float32)

    return {
        "weight": normal() if affine else None,
        "bias": normal() if affine else None,
        "running_mean": normal() * 3,
        "running_var": np.square(normal()) + 0.05,
    }


@settings(deadline=None)
@given(st.sampled_from(OVERLOADS), st.integers(1, 9), st.integers(0, 3), st.booleans())
def test_matches_pytorch(overload: str, channels: int, spatial: int, affine: bool) -> None:
    shape = (3, channels, *range(2, 2 + spatial))
    statistics = random_statistics(channels, affine)
    recorded = record(overload, shape, statistics)
    result = recorded.convert(CONVERTERS)
    result = result[0] if isinstance(result, list) else result
    (operator,) = recorded.operators
    scale, shift = operator.operands[1:]
    assert isinstance(scale, Constant) and isinstance(shift, Constant)
    assert scale.array.dtype == shift.array.dtype == np.float64
    x = torch.randn(shape)
    tensors = {name: None if v is None else torch.from_numpy(v).double() for name, v in statistics.items()}
    expected = F.batch_norm(x.double(), **tensors, eps=1e-5)
    assert result.type.shape == shape
    np.testing.assert_allclose(x.double().numpy() * scale.array + shift.array, expected.numpy(), atol=1e-12)


def test_the_statistics_for_a_backward_pass_are_not_offered() -> None:
    results = record(OVERLOADS[1], (2, 3, 4), random_statistics(3)).convert(CONVERTERS)
    assert [result is None for result in results] == [False, True, True]
    recorded = record(OVERLOADS[1], (2, 3, 4), random_statistics(3))
    read = RecordedCall(replace(recorded.call, results_read=frozenset({1})), recorded.graph)
    assert "backward pass" in read.decline(CONVERTERS)


def test_training_is_declined() -> None:
    recorded = record(OVERLOADS[0], (2, 3, 4), random_statistics(3), training=True)
    assert "eval mode" in recorded.decline(CONVERTERS)


def test_without_running_statistics_is_declined() -> None:
    statistics = random_statistics(3) | {"running_mean": None, "running_var": None}
    for training in (False, True):  # the module asks for training even in eval mode
        recorded = record(OVERLOADS[0], (2, 3, 4), statistics, training=training)
        assert "track_running_stats" in recorded.decline(CONVERTERS)


@pytest.mark.parametrize("name", ["weight", "bias", "running_mean", "running_var"])
def test_computed_parameters_are_declined(name: str) -> None:
    recorded = record(OVERLOADS[0], (2, 3, 4), random_statistics(3) | {name: float32(3)})  # type: ignore[dict-item]
    assert f"{name} must be known ahead of time" in recorded.decline(CONVERTERS)
