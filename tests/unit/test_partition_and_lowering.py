"""Partition asks the registry; all that is unsupported is reported at once, with reasons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from fx2ait_core.capture import CapturedProgram, capture
from fx2ait_core.errors import ConversionError, Decline, Fx2aitWarning, UnsupportedNodesError
from fx2ait_core.extend.call import Call
from fx2ait_core.extend.contributions import Converter
from fx2ait_core.extend.registry import Contribution, Registry
from fx2ait_core.ir.operator import pointwise_operator
from fx2ait_core.ir.value import Constant
from fx2ait_core.lower import lower
from fx2ait_core.normalize import normalize
from fx2ait_core.partition import partition

Sine = pointwise_operator("test.sine")


def registry(*converters: Converter) -> Registry:
    return Registry({"converters": [Contribution(c, f"dist-{i} 1.0") for i, c in enumerate(converters)]})


def captured(model: nn.Module) -> CapturedProgram:
    program = capture(model, (torch.randn(2, 4),))
    normalize(program.graph)
    return program


class SineOfCosine(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(torch.cos(x)) + torch.tan(x)


def test_every_unsupported_node_is_listed_with_every_reason() -> None:
    declining = Converter("aten.sin.default", lambda call: None, lambda call: Decline("sines are not for me"))
    also = Converter("aten.sin.default", lambda call: None, lambda call: Decline("nor for me"), priority=1)
    with pytest.raises(UnsupportedNodesError) as raised:
        partition(captured(SineOfCosine()), registry(declining, also), "install more plugins")
    text = str(raised.value)
    for part in (
        "4 of the 4 operations",
        "aten.sin.default",
        "aten.cos.default",
        "aten.tan.default",
        "dist-0 1.0: sines are not for me",
        "dist-1 1.0: nor for me",
        "no installed plugin converts it",
        "test_partition_and_lowering.py:",
        "install more plugins",
    ):
        assert part in text


class Pooled(nn.Module):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        values, _ = torch.max(x, 0)
        _, indices = torch.max(x, 1)
        return values, indices


def test_a_converter_is_told_which_results_are_read() -> None:
    seen = []

    def supports(call: Call) -> None:
        seen.append(call.results_read)

    partition(captured(Pooled()), registry(Converter("aten.max.dim", lambda call: None, supports)))
    assert seen == [frozenset({0}), frozenset({1})]


class Sines(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(torch.sin(x))


def test_the_highest_priority_that_does_not_decline_converts() -> None:
    used: list[str] = []

    def converter(name: str, priority: int, declines: bool) -> Converter:
        def convert(call: object) -> object:
            used.append(name)
            return call.emit(Sine, [call["self"]])  # type: ignore[attr-defined]

        return Converter(
            "aten.sin.default", convert, lambda call: Decline("no") if declines else None, priority
        )

    offers = registry(converter("low", 0, False), converter("middle", 5, False), converter("high", 9, True))
    graph = lower(partition(captured(Sines()), offers))
    assert used == ["middle", "middle"]
    assert [operator.kind for operator in graph.operators] == ["test.sine", "test.sine"]
    assert graph.output_names == ["output"]


@pytest.mark.parametrize(
    ("supports", "fault"),
    [
        (lambda call: call["nothing"], "its predicate failed: KeyError: 'nothing'"),
        (lambda call: call.emit(Sine, [call["self"]]), "must not emit"),
        (lambda call: True, "answered True; return None or Decline"),
        (lambda call: False, "answered False"),
        (lambda call: "no", "answered 'no'"),
    ],
)
def test_a_faulty_predicate_is_named(supports: Any, fault: str) -> None:
    offers = registry(Converter("aten.sin.default", lambda call: None, supports))
    with (
        pytest.warns(Fx2aitWarning, match="the converter of aten.sin.default by dist-0 1.0 is passed over"),
        pytest.raises(UnsupportedNodesError) as raised,
    ):
        partition(captured(Sines()), offers)
    assert fault in str(raised.value)


@pytest.mark.parametrize(
    ("convert", "fault"),
    [
        (lambda call: None, "it returned a NoneType, not a value"),
        (lambda call: [call["self"]], "it returned a list, not a value"),
        (lambda call: Constant("c", np.zeros((4, 2))), "it made float64[4, 2], but .* shape (2, 4)"),
        (lambda call: Constant("c", np.zeros(4)), "it made float64[4], but .* shape (2, 4)"),
        (lambda call: Constant("c", np.zeros((2, 4), np.int64)), "it made int64[2, 4], but .*torch.float32"),
    ],
)
def test_what_a_converter_makes_must_be_pytorch_s_result(convert: Any, fault: str) -> None:
    with pytest.raises(ConversionError) as raised:
        lower(partition(captured(Sines()), registry(Converter("aten.sin.default", convert))))
    first, _, last = fault.partition(".*")
    assert "the converter of dist-0 1.0 failed: " + first in str(raised.value)
    assert last in str(raised.value)


def test_results_without_elements_are_refused() -> None:
    def convert(call: Call) -> Any:
        return call.emit(Sine, [Constant("c", np.zeros((2, 0)))])

    with pytest.raises(ConversionError, match=r"test.sine makes float64\[2, 0\], which holds no elements"):
        lower(partition(captured(Sines()), registry(Converter("aten.sin.default", convert))))


class Largest(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.max(x, 1)[0]


def test_every_result_that_a_converter_makes_is_checked() -> None:
    for made in (lambda call: [call["self"], None], lambda call: call["self"]):
        with pytest.raises(ConversionError, match=r"it made float32\[2, 4\]"):
            lower(partition(captured(Largest()), registry(Converter("aten.max.dim", made))))


def test_a_failing_converter_is_named_with_the_node_and_the_line() -> None:
    def convert(call: object) -> object:
        raise ZeroDivisionError("oh")

    offers = registry(Converter("aten.sin.default", convert))
    with pytest.raises(
        ConversionError, match=r"sin: aten.sin.default.*dist-0 1.0 failed: ZeroDivisionError: oh"
    ):
        lower(partition(captured(Sines()), offers))


class Spectrum(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.abs(torch.fft.fft(x)) + torch.tan(x)


def test_a_predicate_that_fails_and_a_tensor_of_unknown_dtype_are_reasons_among_others() -> None:
    def fails(call: object) -> Decline | None:
        raise KeyError("no such thing")

    offers = registry(
        Converter("aten.tan.default", lambda call: None, fails), Converter("aten.abs.default", lambda call: 0)
    )
    with pytest.warns(Fx2aitWarning), pytest.raises(UnsupportedNodesError) as raised:
        partition(captured(Spectrum()), offers)
    text = str(raised.value)
    for part in (
        "4 of the 4 operations",
        "aten.fft_fft.default",
        "dist-0 1.0: its predicate failed: KeyError: 'no such thing'",
        "dist-1 1.0: tensors of torch.complex64 cannot be compiled",
    ):
        assert part in text
