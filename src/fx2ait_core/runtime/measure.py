"""Measuring candidates on the device at hand, for :mod:`fx2ait_core.tune`."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..build.library import Progress, Recipe, build_all
from ..emit.launcher import signature
from ..errors import BuildError, EngineError
from ..settings import Settings
from ..target.backend import Backend
from ..target.target import Target
from ..tune.offers import JOB_NAME, Device, Failed, Job, Measure, Timed
from .buffers import Buffers, RandomData
from .harness import buffer_count, can_measure, external_type, libraries_of, measured_tree


def tuning_device(backend: Backend, target: Target, settings: Settings) -> Device:
    """Where times measured for ``target`` hold: its device, and the compilers with their flags.

    The number of threads is part of it where it matters.
    """
    threads = target.properties.get("threads")
    name = f"{target.device or target.arch}" + (f", {threads} threads" if threads else "")
    return Device(name, Recipe.of(backend, target, settings).identity)


def measurer(
    backend: Backend,
    target: Target,
    settings: Settings,
    progress: Callable[[Progress], None] | None = None,
) -> Measure | None:
    """A function that builds and times jobs on the present device.

    None where there is no such device, or no clock for its kind of sources: then estimates decide.
    Sources are compiled in parallel, several in a unit; then one candidate runs at a time. A
    candidate's failure to compile or to run is its result; a full disk, and a fault that leaves the
    GPU unusable, are raised.
    """
    if not can_measure(backend) or backend.available(settings) is not None:
        return None
    if not _is_here(target, backend, settings):
        return None
    built = _Callers(backend, target, settings, progress)
    on_gpu = "compute_capability" in target.properties

    def measure(jobs: Sequence[Job]) -> Iterator[Timed | Failed]:
        callers = built.of(jobs)
        data = RandomData(
            torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
        )
        for number, (job, made) in enumerate(zip(jobs, callers, strict=True), start=1):
            if isinstance(made, BuildError):  # perhaps the compiler's fault, to be mended
                yield Failed(str(made), lasting=False)
            else:
                yield time_job(job, made, data)
            if progress is not None:
                progress(Progress(number, len(jobs), str(job), stage="measure"))

    return measure


@dataclass(frozen=True)
class _Caller:
    """Where a job's caller is: the number-th of a library."""

    library: Path
    number: int


class _Callers:
    """Builds the callers of jobs. Each is built once, however often its job is measured."""

    def __init__(
        self,
        backend: Backend,
        target: Target,
        settings: Settings,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self._build = lambda trees: build_all(trees, backend, target, settings, progress)
        self._backend = backend
        self._made: dict[str, _Caller | BuildError] = {}

    def of(self, jobs: Sequence[Job]) -> list[_Caller | BuildError]:
        """Each job's caller, or why it does not compile."""
        keys = [compiled_identity(job) for job in jobs]
        missing = {key: job for key, job in zip(keys, jobs, strict=True) if key not in self._made}
        wanted = list(missing.items())
        groups = libraries_of([job for _, job in wanted])
        self._compile([[wanted[index] for index in group] for group in groups])
        # What does not compile in company is tried alone: only the one at fault has failed.
        again = [
            [wanted[index]]
            for group in groups
            for index in group
            if len(group) > 1 and isinstance(self._made[wanted[index][0]], BuildError)
        ]
        self._compile(again)
        return [self._made[key] for key in keys]

    def _compile(self, groups: Sequence[Sequence[tuple[str, Job]]]) -> None:
        if not groups:
            return
        trees = [measured_tree([job for _, job in group], self._backend) for group in groups]
        for group, library in zip(groups, self._build(trees), strict=True):
            for number, (key, _) in enumerate(group):
                built = library if isinstance(library, BuildError) else _Caller(library.path, number)
                self._made[key] = built


def compiled_identity(job: Job) -> str:
    """All that a job's caller depends on, so not the sizes that it is measured at."""
    parts = [job.offer.kernel.name, signature(JOB_NAME, job.problem), job.source.text]
    parts += [external_type(job.problem) or ""]
    parts += [text for path in sorted(job.source.headers) for text in (path, job.source.headers[path])]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def time_job(job: Job, caller: _Caller, data: RandomData) -> Timed | Failed:
    """The time of one call of the job's launcher at the problem's sizes, on random data, and its answer.

    Raises :class:`~fx2ait_core.errors.EngineError` when the GPU is left unusable.
    """
    problem = job.problem
    on_gpu = data.device.type == "cuda"
    library = ctypes.CDLL(str(caller.library))
    measure = library.fx2ait_measure
    measure.restype = ctypes.c_char_p
    try:
        buffers = Buffers(problem, job.source, data)
    except torch.OutOfMemoryError as error:
        return Failed(f"no memory for its tensors ({str(error).splitlines()[0]})", lasting=False)
    except Exception as error:  # a packing of the plugin's: its candidate is out
        return Failed(f"packing its constants: {type(error).__name__}: {error}")
    if on_gpu:
        torch.cuda.synchronize()  # the clock has a stream of its own
    sizes = [problem.bindings[name] for name, _ in problem.symbols]
    microseconds = ctypes.c_float()
    failure = measure(
        getattr(library, f"fx2ait_call_{caller.number}"),
        buffers.arguments,
        ctypes.c_int64(buffers.sets),
        ctypes.c_int64(buffer_count(problem)),
        (ctypes.c_int64 * max(1, len(sizes)))(*sizes),
        ctypes.c_int64(data.device.index or 0),
        ctypes.c_int64(int(problem.target.properties.get("threads", 1))),
        ctypes.byref(microseconds),
    )
    if on_gpu:
        _check_gpu(job)
    if failure is not None:
        return Failed(failure.decode(errors="replace"))
    return Timed(float(microseconds.value), buffers.answer())


def _check_gpu(job: Job) -> None:
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        raise EngineError(
            f"{job} of {job.offer.distribution} left the GPU unusable while it was measured for "
            f"{job.problem.kind}: {str(error).splitlines()[0]}. Nothing more can run in this process; "
            "start again with FX2AIT_NO_TUNE=1, or without that plugin, and report it."
        ) from error


def _is_here(target: Target, backend: Backend, settings: Settings) -> bool:
    """Whether ``target`` is this machine. A processor also serves any target whose features it has."""
    here = backend.detect("native" if target.arch == "native" else None, settings)
    if "compute_capability" in here.properties:
        return (here.arch, here.device) == (target.arch, target.device)
    return target.features <= here.features
