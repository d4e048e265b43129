"""Compile modules and compare their answers with PyTorch's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from ..compiler import compile
from ..runtime.engine import Engine
from ..settings import Settings

TARGETS = ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)]
"""For ``pytest.mark.parametrize("target", TARGETS)``."""

TOLERANCE = {"fp32": 2e-5, "fp16": 4e-3, "bf16": 3e-2}
"""Largest relative L2 error by precision; float32 leaves room for Winograd's transforms."""


@dataclass(frozen=True)
class Case:
    """A module (or function) and the shapes of its inputs, the first dimension being the batch.

    ``make`` draws an input from a shape; default: normal in float32.
    """

    module: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    make: Callable[[tuple[int, ...]], torch.Tensor] = torch.randn

    def __str__(self) -> str:
        return f"{self.module} on {', '.join(map(str, self.shapes))}"


class _Bench(torch.nn.Module):
    """Many cases side by side, so that one engine (and one build) serves them all."""

    def __init__(self, cases: Sequence[Case]) -> None:
        super().__init__()
        self.parts = [case.module for case in cases]
        self.held = torch.nn.ModuleList(p for p in self.parts if isinstance(p, torch.nn.Module))
        self.counts = [len(case.shapes) for case in cases]

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        results, start = [], 0
        for part, count in zip(self.parts, self.counts, strict=True):
            results.append(part(*inputs[start : start + count]))
            start += count
        return tuple(results)


def relative_error(found: torch.Tensor, reference: torch.Tensor) -> float:
    """``‖found − reference‖ / ‖reference‖`` in float64; infinite where NaN or infinity do not agree."""
    found, reference = found.detach().double().cpu(), reference.detach().double().cpu()
    if found.shape != reference.shape:
        return float("inf")
    odd = ~torch.isfinite(reference)
    if not torch.equal(found[odd].nan_to_num(7e37), reference[odd].nan_to_num(7e37)):
        return float("inf")
    difference = torch.linalg.vector_norm((found - reference)[~odd])
    scale = torch.linalg.vector_norm(reference[~odd])
    return float(difference / scale) if scale > 0 else float(difference)


def assert_matches_pytorch(
    cases: Sequence[Case],
    *,
    target: str = "cpu",
    precision: str | None = None,
    batches: Sequence[int] = (2, 1, 3),
    tolerance: float | None = None,
    channels_last: bool = False,
    half_inputs: bool = False,
    settings: Settings | None = None,
) -> Engine:
    """Compile all cases into one engine and compare it with the modules run in float64.

    :param batches: sizes of the dynamic batch to run at; the engine takes 1 to the largest.
    :param tolerance: default: :data:`TOLERANCE` of the precision.
    :param channels_last: hand rank-4 inputs over in channels-last strides.
    :param half_inputs: hand inputs over in float16, though the engine declares float32.

    Raises ``AssertionError`` that lists every case that differs, with its error.
    """
    precision = precision or ("fp32" if target == "cpu" else "fp16")
    limit = TOLERANCE[precision] if tolerance is None else tolerance
    bench = _Bench(cases).eval()
    examples = tuple(case.make((2, *shape[1:])) for case in cases for shape in case.shapes)
    engine = compile(
        bench,
        examples,
        target=target,
        precision=precision,
        dynamic_batch=(1, max(batches)),
        tune=False,
        settings=settings,
    )
    assert isinstance(engine, Engine), "the target cannot run here"
    exact = copy.deepcopy(bench).double()
    exact.parts = _exact_parts(cases, exact)
    faults = []
    for batch in batches:
        inputs = [case.make((batch, *shape[1:])) for case in cases for shape in case.shapes]
        inputs = [_handed_over(x, channels_last, half_inputs) for x in inputs]
        found = engine(*(x.to(engine.device) for x in inputs))
        with torch.no_grad():
            wanted = exact(*(x.double() if x.is_floating_point() else x for x in inputs))
        for case, mine, reference in zip(cases, found, wanted, strict=True):
            error = relative_error(mine, reference)
            if not error <= limit:
                faults.append(f"  {error:.2e} > {limit:.0e} at batch {batch}: {case}")
    assert not faults, f"{len(faults)} answers differ from PyTorch's:\n" + "\n".join(faults)
    return engine


def _exact_parts(cases: Sequence[Case], bench: torch.nn.Module) -> list[Callable[..., Any]]:
    """The parts of the float64 copy: its own modules, and functions as they are."""
    held = iter(bench.held)  # type: ignore[arg-type]
    return [next(held) if isinstance(case.module, torch.nn.Module) else case.module for case in cases]


def _handed_over(tensor: torch.Tensor, channels_last: bool, half: bool) -> torch.Tensor:
    if half and tensor.is_floating_point():
        tensor = tensor.half()
    if channels_last and tensor.ndim == 4:
        tensor = tensor.contiguous(memory_format=torch.channels_last)
    return tensor
