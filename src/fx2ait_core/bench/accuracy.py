"""How far answers are from a reference: relative L2, largest absolute error, top-1 agreement."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import VerificationError

FLOAT64_PARAMETER_LIMIT = 500_000_000
"""Above this many parameters the reference is computed in float32."""


@dataclass(frozen=True)
class Errors:
    """Differences from the reference, the worst over outputs and runs.

    ``top1_agreement`` is the share of samples with the reference's largest class; None where no output
    has the shape ``[batch, classes]``.
    """

    relative_l2: float
    max_absolute: float
    top1_agreement: float | None


def tensors(value: Any) -> tuple[torch.Tensor, ...]:
    """The tensors in a model's return value, in order: a tensor, or nested sequences and mappings."""
    if isinstance(value, torch.Tensor):
        return (value,)
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return tuple(tensor for item in value for tensor in tensors(item))
    return ()


def relative_l2(answer: torch.Tensor, reference: torch.Tensor) -> float:
    """``|answer - reference| / |reference|`` in float64; infinite where the answer is not finite or has
    another shape, and where only the reference vanishes."""
    if answer.shape != reference.shape:
        return math.inf
    answer, reference = answer.detach().double(), reference.detach().double().to(answer.device)
    difference, size = float((answer - reference).norm()), float(reference.norm())
    if not math.isfinite(difference):
        return math.inf
    return difference / size if size else (math.inf if difference else 0.0)


def compare(answers: Sequence[torch.Tensor], references: Sequence[torch.Tensor]) -> Errors:
    """The errors of one run's outputs."""
    if len(answers) != len(references):
        return Errors(math.inf, math.inf, None)
    relative, absolute, agreeing, samples = 0.0, 0.0, 0, 0
    for answer, reference in zip(answers, references, strict=True):
        relative = max(relative, relative_l2(answer, reference))
        if answer.shape != reference.shape:
            return Errors(math.inf, math.inf, None)
        if answer.numel():
            largest = float((answer.double() - reference.double().to(answer.device)).abs().max())
            absolute = max(absolute, largest if math.isfinite(largest) else math.inf)
        if reference.ndim == 2 and reference.shape[1] > 1:
            agreeing += int((answer.argmax(1) == reference.to(answer.device).argmax(1)).sum())
            samples += reference.shape[0]
    return Errors(relative, absolute, agreeing / samples if samples else None)


def worst(errors: Sequence[tuple[Errors, int]]) -> Errors:
    """The worst of several runs, each with its number of samples; agreement is averaged over samples."""
    agreements = [(e.top1_agreement, n) for e, n in errors if e.top1_agreement is not None]
    total = sum(n for _, n in agreements)
    return Errors(
        max(e.relative_l2 for e, _ in errors),
        max(e.max_absolute for e, _ in errors),
        sum(a * n for a, n in agreements) / total if total else None,
    )


class Reference:
    """The original module in float64 where affordable, else float32, on ``device``.

    Float32 it is too for a module that cannot run in float64, because it converts to float32 itself.
    ``model`` is copied; float inputs are converted, and TF32 is off while it runs.
    """

    def __init__(self, model: torch.nn.Module, device: torch.device) -> None:
        count = sum(parameter.numel() for parameter in model.parameters())
        self.dtype = torch.float64 if count <= FLOAT64_PARAMETER_LIMIT else torch.float32
        self.device = device
        self._original = model
        self._model = at_precision(model, self.dtype, device)

    def __call__(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """The answers; raises :class:`~fx2ait_core.errors.VerificationError` when the module itself fails."""
        try:
            return self._answers(inputs)
        except Exception as error:
            if self.dtype == torch.float32:
                raise VerificationError(
                    f"the module itself fails on these inputs: {type(error).__name__}: {error}"
                ) from error
        self.dtype = torch.float32
        self._model = at_precision(self._original, self.dtype, self.device)
        return self(inputs)

    def _answers(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        with torch.no_grad(), exact_arithmetic():
            return tensors(self._model(*converted(inputs, self.dtype, self.device)))


def at_precision(model: torch.nn.Module, dtype: torch.dtype, device: torch.device) -> torch.nn.Module:
    """A copy of ``model`` in eval mode with its floating-point weights in ``dtype``, on ``device``."""
    return copy.deepcopy(model).to(device=device, dtype=dtype).eval()


def converted(
    inputs: Sequence[torch.Tensor], dtype: torch.dtype, device: torch.device
) -> tuple[torch.Tensor, ...]:
    """``inputs`` on ``device``, the floating-point ones in ``dtype``."""
    return tuple(t.to(device, dtype if t.is_floating_point() else t.dtype) for t in inputs)


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Inside, float32 products on a GPU are not rounded to TF32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
