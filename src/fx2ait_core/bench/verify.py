"""Verification: an engine against the original module, with PyTorch's own error beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..errors import VerificationError
from .accuracy import Errors, Reference, at_precision, compare, converted, tensors, worst
from .samples import batch_of, batch_size, described, dynamic_ranges, random_inputs, some_samples
from .sizes import samples_are_independent, unseen_sizes

_MOST_SECONDS = 2.0
"""What a run at a further batch size may take."""

SHORT_NAMES = {torch.float16: "fp16", torch.bfloat16: "bf16", torch.float32: "fp32"}


class Compiled(Protocol):
    """What is needed of an engine: it can be called, and says what it takes."""

    @property
    def manifest(self) -> Mapping[str, Any]: ...
    def __call__(self, *inputs: torch.Tensor) -> Any: ...


def engine_precision(manifest: Mapping[str, Any]) -> torch.dtype:
    """The dtype that an engine computes in."""
    dtype = getattr(torch, manifest["precision"])
    assert isinstance(dtype, torch.dtype)
    return dtype


@dataclass(frozen=True)
class Limits:
    """What difference is accepted; None accepts any."""

    max_relative_error: float = 1e-2
    max_absolute_error: float | None = None
    min_top1_agreement: float | None = None

    def violations(self, errors: Errors) -> tuple[str, ...]:
        """One sentence for each limit that ``errors`` exceed."""
        found = []
        if not errors.relative_l2 <= self.max_relative_error:
            found.append(f"relative L2 error {errors.relative_l2:.3g} is above {self.max_relative_error:g}")
        if self.max_absolute_error is not None and not errors.max_absolute <= self.max_absolute_error:
            found.append(f"absolute error {errors.max_absolute:.3g} is above {self.max_absolute_error:g}")
        if self.min_top1_agreement is not None:
            if errors.top1_agreement is None:
                found.append("top-1 agreement is asked for, but no output has the shape [batch, classes]")
            elif errors.top1_agreement < self.min_top1_agreement:
                found.append(
                    f"top-1 agreement {errors.top1_agreement:.3g} is below {self.min_top1_agreement:g}"
                )
        return tuple(found)


@dataclass(frozen=True)
class VerificationReport:
    """Errors of an engine, and of PyTorch at the same precision on the same device, both against
    ``reference`` (the module in float64, or in float32 where that is too large or impossible).

    ``pytorch`` is None where the module cannot run at the precision, because it converts to another itself.

    :ivar samples: how many samples the module was asked for.
    :ivar batches: the batch sizes that the engine ran at; at the larger ones with the same samples again.
    :ivar worst_batch: the one with the largest relative error.
    """

    name: str
    target: str
    precision: str
    reference: str
    samples: int
    batches: tuple[int, ...]
    worst_batch: int
    engine: Errors
    pytorch: Errors | None
    limits: Limits
    violations: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.violations

    def raise_if_failed(self) -> None:
        """Raise :class:`~fx2ait_core.errors.VerificationError` that names each limit exceeded."""
        if self.violations:
            usual = f"relative L2 error {self.pytorch.relative_l2:.3g}" if self.pytorch else "cannot run it"
            raise VerificationError(
                f"{self.name} on {self.target} at {self.precision} differs from the model: "
                f"{'; '.join(self.violations)}, worst at batch {self.worst_batch} "
                f"(PyTorch at {self.precision}: {usual}; {self.samples} samples)"
            )


def verify(
    engine: Compiled,
    model: torch.nn.Module,
    inputs: Sequence[torch.Tensor] | torch.Tensor | None = None,
    samples: int = 8,
    limits: Limits | None = None,
    seed: int | None = None,
) -> VerificationReport:
    """Compare ``engine`` with ``model``, which is copied and left as it is.

    Random inputs come at several batch sizes where the engine has a dynamic batch. So that each of its
    buckets is checked, whose kernels may differ, it is also run at the largest batch of every bucket that
    these miss, with samples drawn from those whose answers are known, as long as a run takes less than two
    seconds. (A model that mixes samples is not.)

    :param inputs: one set of inputs to compare on, on any device, instead of random ones.
    :param samples: how many random samples.
    :param seed: for reproducible random inputs.

    Raises :class:`~fx2ait_core.errors.EngineInputError` for inputs that the engine does not take, and
    :class:`~fx2ait_core.errors.VerificationError` when the module itself fails on them.
    """
    manifest = engine.manifest
    device = torch.device(manifest["target"]["name"])
    precision = engine_precision(manifest)
    reference = Reference(model, device)
    rival = at_precision(model, precision, device)
    if isinstance(inputs, torch.Tensor):
        inputs = (inputs,)
    runs = [tuple(inputs)] if inputs is not None else _random_runs(manifest, samples, seed)

    def answers(given: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        with torch.no_grad():
            return tensors(engine(*(tensor.to(device) for tensor in given)))

    ours: list[tuple[Errors, int]] = []
    theirs: list[tuple[Errors, int]] = []
    known: list[_Known] = []
    for given in runs:
        answer, expected = answers(given), reference(given)
        count = batch_size(described(manifest), given)
        known.append(_Known(given, expected, count))
        ours.append((compare(answer, expected), count))
        if (usual := _answers(rival, converted(given, precision, device))) is not None:
            theirs.append((compare(usual, expected), count))
    count = sum(run.count for run in known)
    pool = max(known, key=lambda run: run.count)
    sizes = unseen_sizes(manifest, [run.count for run in known]) if inputs is None else []
    if sizes and samples_are_independent(manifest, reference, pool.given, pool.expected):
        each = _seconds(answers, pool.given) / pool.count
        generator = torch.Generator().manual_seed(seed or 0)
        for size in (size for size in sizes if size * each < _MOST_SECONDS):
            order = torch.randint(pool.count, (size,), generator=generator)
            again = tuple(tensor[order] for tensor in pool.expected)
            drawn = some_samples(described(manifest), pool.given, order)
            ours.append((compare(answers(drawn), again), size))
    limits = limits or Limits()
    errors = worst(ours)
    return VerificationReport(
        name=manifest["name"],
        target=manifest["target"]["name"],
        precision=SHORT_NAMES[precision],
        reference=str(reference.dtype).removeprefix("torch."),
        samples=count,
        batches=tuple(sorted({size for _, size in ours})),
        worst_batch=max(ours, key=lambda run: run[0].relative_l2)[1],
        engine=errors,
        pytorch=worst(theirs) if theirs else None,
        limits=limits,
        violations=limits.violations(errors),
    )


@dataclass(frozen=True)
class _Known:
    """Inputs of ``count`` samples and the module's answers."""

    given: tuple[torch.Tensor, ...]
    expected: tuple[torch.Tensor, ...]
    count: int


def _seconds(
    answers: Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]], given: Sequence[torch.Tensor]
) -> float:
    """Time of a run, answers on the host; what a first run has to load was loaded before."""
    started = time.perf_counter()
    for answer in answers(given):
        answer.cpu()
    return time.perf_counter() - started


def _answers(model: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...] | None:
    """None for a module that cannot run at this precision; at the reference's it did."""
    try:
        with torch.no_grad():
            return tensors(model(*inputs))
    except Exception:  # whatever the user's code raises
        return None


def _random_runs(
    manifest: Mapping[str, Any], samples: int, seed: int | None
) -> list[tuple[torch.Tensor, ...]]:
    """Batches of random inputs, at least ``samples`` samples: the smallest batch first, then the rest
    at once, as far as the range allows. Other dynamic symbols take their smallest size."""
    inputs, ranges = described(manifest), dynamic_ranges(manifest)
    lead = batch_of(inputs)
    low, high = ranges[lead] if isinstance(lead, str) else (lead, lead)
    batches = [low]
    while sum(batches) < samples:
        batches.append(max(low, min(high, samples - sum(batches))))
    runs = []
    for index, batch in enumerate(batches):
        sizes = {name: batch if name == lead else smallest for name, (smallest, _) in ranges.items()}
        runs.append(random_inputs(inputs, sizes, None if seed is None else seed + index))
    return runs
