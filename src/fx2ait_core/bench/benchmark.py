"""The benchmark: an engine beside its rivals, in one process, on the same inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from ..errors import EngineInputError
from .accuracy import Reference, compare, converted, tensors
from .contention import ACCEPTED, ContentionMeter
from .environment import Environment, environment
from .rivals import Contender, forget_compiled, usual_rivals
from .samples import batch_of, described, dynamic_ranges, random_inputs, some_samples
from .timing import TimedPath, Timing, interleaved
from .verify import SHORT_NAMES, Compiled, engine_precision

ENGINE = "fx2ait"
CHECKED_SAMPLES = {"cuda": 64, "cpu": 8}
"""The error of a row is measured on at most this many samples."""


@dataclass(frozen=True)
class BenchmarkRow:
    """One path at one batch size. ``relative_l2`` is against the module in float64 (or float32).

    ``detail`` tells how a path with choices was run, e.g. the mode of ``torch.compile``: the fastest one, of
    which the row is. ``slower`` holds the medians of the others, in milliseconds, by their detail.
    """

    batch: int
    path: str
    ms_median: float
    ms_min: float
    ms_max: float
    images_per_s: float
    relative_l2: float
    detail: str = ""
    slower: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BenchmarkReport:
    """Rows by batch, the engine first; ``notes`` tell of rivals that could not run, and of a busy machine.

    ``contention`` is the share of the time in which this process waited for a processor that others
    held, the worst of all batches; None where the system does not tell.
    """

    name: str
    target: str
    precision: str
    baseline: str
    rounds: int
    environment: Environment
    rows: tuple[BenchmarkRow, ...]
    notes: tuple[str, ...] = ()
    contention: float | None = None

    def row(self, batch: int, path: str) -> BenchmarkRow | None:
        return next((row for row in self.rows if (row.batch, row.path) == (batch, path)), None)

    @property
    def batches(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(row.batch for row in self.rows))

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.path for row in self.rows))

    def speedup(self, batch: int, over: str | None = None) -> float | None:
        """How many times faster the engine's median is than that of ``over`` (by default the baseline)."""
        ours, theirs = self.row(batch, ENGINE), self.row(batch, over or self.baseline)
        return theirs.ms_median / ours.ms_median if ours and theirs else None


def benchmark(
    engine: Compiled,
    model: torch.nn.Module,
    batches: Sequence[int] | None = None,
    rivals: Sequence[Contender] | None = None,
    rounds: int = 20,
    threads: int | None = None,
    progress: Any = None,
) -> BenchmarkReport:
    """Time ``engine`` beside ``rivals`` at each batch size.

    :param batches: by default the smallest size that the engine takes.
    :param rivals: by default the usual ones on the engine's device; empty for none. The first one is
        the baseline of the speedups.
    :param threads: of PyTorch, on cpu; by default those that it has now.
    :param progress: told the stage and each batch done (see ``compile``).

    Raises :class:`~fx2ait_core.errors.EngineInputError` for a batch outside the engine's range,
    before anything is measured.
    """
    manifest = engine.manifest
    device = torch.device(manifest["target"]["name"])
    batches = accepted_batches(manifest, batches)
    rivals = usual_rivals(device.type) if rivals is None else rivals
    reference = Reference(model, device)
    rows: list[BenchmarkRow] = []
    notes: dict[str, None] = {}
    shares: list[float] = []
    if progress:
        progress.stage("benchmark")
    with torch_threads(threads):
        for done, batch in enumerate(batches):
            if progress:
                progress.units(done, len(batches), f"batch {batch}")
            given = converted(inputs_at(manifest, batch), engine_precision(manifest), device)
            meter = ContentionMeter()
            rows += _rows(engine, model, rivals, reference, given, batch, rounds, notes, meter)
            if (share := meter.share) is not None:
                shares.append(share)
        surroundings = environment(device, manifest)  # here, where clocks and threads are the measured ones
    if progress:
        progress.units(len(batches), len(batches), "done")
    return BenchmarkReport(
        name=manifest["name"],
        target=manifest["target"]["name"],
        precision=SHORT_NAMES[engine_precision(manifest)],
        baseline=rivals[0].path if rivals else ENGINE,
        rounds=rounds,
        environment=surroundings,
        rows=tuple(rows),
        notes=(*notes, *_busy_note(max(shares, default=0.0))),
        contention=max(shares, default=None),
    )


def _busy_note(share: float) -> tuple[str, ...]:
    if share <= ACCEPTED:
        return ()
    return (
        f"the machine was busy: this process waited for a processor {share:.0%} of its time, which slows "
        "the paths unequally (PyTorch's threads most); do not trust these ratios, measure again when it "
        "is quiet",
    )


def _rows(
    engine: Compiled,
    model: torch.nn.Module,
    rivals: Sequence[Contender],
    reference: Reference,
    given: tuple[torch.Tensor, ...],
    batch: int,
    rounds: int,
    notes: dict[str, None],
    meter: ContentionMeter,
) -> list[BenchmarkRow]:
    device = given[0].device
    if any(rival.compile_mode for rival in rivals):
        forget_compiled()
    paths: dict[tuple[str, str], TimedPath] = {(ENGINE, ""): TimedPath(lambda: engine(*given))}
    for rival in rivals:
        try:
            paths[rival.path, rival.compile_mode or ""] = rival.prepare(model, given, device)
        except Exception as error:  # a rival that cannot run must not take the others down
            reason = (str(error).strip().splitlines() or [""])[0]
            named = f"{rival.path} {rival.compile_mode or ''}".rstrip()
            notes[f"{named} at batch {batch} could not run: {type(error).__name__}: {reason}"] = None
    inputs = described(engine.manifest)
    is_dynamic = isinstance(batch_of(inputs), str)
    checked = min(batch, CHECKED_SAMPLES[device.type]) if is_dynamic else batch
    expected = reference(some_samples(inputs, given, slice(checked)))
    errors: dict[tuple[str, str], float] = {}
    for key, path in paths.items():
        with torch.no_grad(), path.context():
            errors[key] = _error(tensors(path.call()), expected)
    meter.start()  # compiling the rivals is not what is measured
    timings: dict[str, dict[str, Timing]] = {}
    for (name, detail), timing in interleaved(paths, device, rounds).items():
        timings.setdefault(name, {})[detail] = timing
    return [_row(batch, name, choices, errors) for name, choices in timings.items()]


def _row(
    batch: int, path: str, choices: Mapping[str, Timing], errors: Mapping[tuple[str, str], float]
) -> BenchmarkRow:
    """The row of a path's fastest choice."""
    best = min(choices, key=lambda detail: choices[detail].ms_median)
    t = choices[best]
    return BenchmarkRow(
        batch, path, t.ms_median, t.ms_min, t.ms_max, batch * 1e3 / t.ms_median, errors[path, best], best,
        slower={detail: other.ms_median for detail, other in choices.items() if detail != best},
    )  # fmt: skip


def _error(answers: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """The error of the samples that the reference was computed for, the first ones."""
    if len(answers) == len(expected):
        pairs = zip(answers, expected, strict=True)
        answers = [a[: e.shape[0]] if a.ndim == e.ndim > 0 else a for a, e in pairs]
    return compare(answers, expected).relative_l2


def accepted_batches(manifest: Mapping[str, Any], batches: Sequence[int] | None) -> tuple[int, ...]:
    symbol = batch_of(described(manifest))
    low, high = dynamic_ranges(manifest)[symbol] if isinstance(symbol, str) else (symbol, symbol)
    if not batches:
        return (low,)
    if wrong := [str(batch) for batch in batches if not low <= batch <= high]:
        accepted = f"{low}" if low == high else f"{low} to {high}"
        raise EngineInputError(
            f"{manifest['name']}: batch {', '.join(wrong)} is outside what the engine accepts: {accepted}; "
            "compile it for a wider range (--batch MIN..MAX)"
        )
    return tuple(dict.fromkeys(batches))


def inputs_at(manifest: Mapping[str, Any], batch: int) -> tuple[torch.Tensor, ...]:
    """Random inputs at one batch size, on the CPU; other dynamic symbols take their smallest size."""
    symbol = batch_of(described(manifest))
    sizes = {
        name: batch if name == symbol else smallest
        for name, (smallest, _) in dynamic_ranges(manifest).items()
    }
    return random_inputs(described(manifest), sizes)


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Inside, PyTorch uses ``count`` threads on the CPU."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
