"""Measuring candidates on the device at hand, for :mod:`fx2ait_core.tune`."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..build.library import Progress, Recipe, build_all
from ..errors import BuildError, EngineError
from ..extend.contributions import KernelSource
from ..extend.problem import OperandSpec, Problem
from ..ir.dims import evaluate
from ..ir.dtypes import DType
from ..ir.layouts import row_major
from ..ir.types import TensorType
from ..settings import Settings
from ..target.backend import Backend
from ..target.target import Target
from ..tune.offers import Device, Failed, Job, Measure
from .harness import can_measure, measured_tree
from .ports import ABI_DTYPES

_ALIGNMENT = 256
_MAX_RANK = 8
_MOST_SETS = 8


class _ExternalTensor(ctypes.Structure):
    """``fx2ait::ExternalTensor``."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("dtype", ctypes.c_int),
        ("strides", ctypes.c_int64 * _MAX_RANK),
    ]


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
    Sources are compiled in parallel; then one candidate runs at a time. A candidate's failure to
    compile or to run is its result; a full disk, and a fault that leaves the GPU unusable, are
    raised.
    """
    if not can_measure(backend) or backend.available(settings) is not None:
        return None
    if not _is_here(target, backend, settings):
        return None

    def measure(jobs: Sequence[Job]) -> Iterator[float | Failed]:
        trees = [measured_tree(job, backend) for job in jobs]
        built = build_all(trees, backend, target, settings, progress)
        for number, (job, library) in enumerate(zip(jobs, built, strict=True), start=1):
            yield Failed(str(library)) if isinstance(library, BuildError) else time_job(job, library.path)
            if progress is not None:
                progress(Progress(number, len(jobs), str(job), stage="measure"))

    return measure


def time_job(job: Job, library: Path) -> float | Failed:
    """Microseconds of one call of the job's launcher at the problem's sizes, on random data.

    Raises :class:`~fx2ait_core.errors.EngineError` when the GPU is left unusable.
    """
    problem = job.problem
    on_gpu = "compute_capability" in problem.target.properties
    device = torch.device("cuda", torch.cuda.current_device()) if on_gpu else torch.device("cpu")
    function = ctypes.CDLL(str(library)).fx2ait_measure
    function.restype = ctypes.c_char_p
    try:
        buffers = _Buffers(problem, job.source, device)
    except torch.OutOfMemoryError as error:
        return Failed(f"no memory for its tensors ({str(error).splitlines()[0]})", lasting=False)
    except Exception as error:  # a packing of the plugin's: its candidate is out
        return Failed(f"packing its constants: {type(error).__name__}: {error}")
    if on_gpu:
        torch.cuda.synchronize()  # the clock has a stream of its own
    sizes = [problem.bindings[name] for name, _ in problem.symbols]
    microseconds = ctypes.c_float()
    failure = function(
        buffers.arguments,
        ctypes.c_int64(buffers.sets),
        (ctypes.c_int64 * max(1, len(sizes)))(*sizes),
        ctypes.c_int64(device.index or 0),
        ctypes.c_int64(int(problem.target.properties.get("threads", 1))),
        ctypes.byref(microseconds),
    )
    if on_gpu:
        _check_gpu(job)
    if failure is not None:
        return Failed(failure.decode(errors="replace"))
    return float(microseconds.value)


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


class _Buffers:
    """The launcher's arguments in one or more sets, so that calls do not all find one set cached.

    In an engine an operand was just written by the launch before: it is in the last cache level
    where it fits. So the sets together fill half of the GPU's L2. A processor's L2 is
    small beside an engine's weights: there the sets fill it four times over.
    """

    def __init__(self, problem: Problem, source: KernelSource, device: torch.device) -> None:
        self.device = device
        generator = np.random.default_rng(0)
        types = [*problem.results, *(o.type for o in (*problem.operands, *problem.epilogue_operands))]
        size = sum(problem.size(type.byte_count) for type in types)
        l2 = int(problem.target.properties.get("l2_bytes", 1 << 20))
        wanted = 4 * l2 if device.type == "cpu" else l2 // 2
        self.sets = max(1, min(_MOST_SETS, wanted // max(1, size)))
        self._kept: list[Any] = []
        constants = {
            position: _packed(operand, source, position, problem, generator)
            for position, operand in enumerate(problem.operands)
            if operand.constant
        }
        workspace = self._zeros(max(1, evaluate(source.workspace, problem.bindings)))
        pointers: list[int] = []
        for _ in range(self.sets):
            pointers += [self._zeros(problem.size(result.byte_count)) for result in problem.results]
            for position, operand in enumerate(problem.operands):
                if position in constants:
                    pointers.append(self._copied(constants[position]))
                else:
                    pointers.append(self._operand(operand, problem))
            pointers += [self._operand(operand, problem) for operand in problem.epilogue_operands]
            pointers.append(workspace)
        self.arguments = (ctypes.c_void_p * len(pointers))(*pointers)

    def _operand(self, operand: OperandSpec, problem: Problem) -> int:
        """Random data; an external operand comes row-major, as most callers give it."""
        data = self._random(operand.type, problem)
        if not operand.external:
            return data
        shape = problem.shape(operand.type.shape)
        strides = [int(stride) for stride in row_major(len(shape)).strides(shape)]
        padded = strides + [0] * (_MAX_RANK - len(strides))
        dtype = ABI_DTYPES[getattr(torch, operand.type.dtype.value)]
        described = _ExternalTensor(data, dtype, (ctypes.c_int64 * _MAX_RANK)(*padded))
        self._kept.append(described)
        return ctypes.addressof(described)

    def _random(self, type: TensorType, problem: Problem) -> int:
        count = math.prod(problem.shape(type.shape))
        if not type.dtype.is_floating:
            return self._zeros(count * type.dtype.itemsize)  # any index is right
        values = torch.randn(count, device=self.device).to(getattr(torch, type.dtype.value))
        return self._placed(values.view(torch.uint8))

    def _copied(self, array: np.ndarray) -> int:
        data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        return self._placed(torch.from_numpy(data.copy()).to(self.device))

    def _zeros(self, size: int) -> int:
        return self._placed(torch.zeros(size, dtype=torch.uint8, device=self.device))

    def _placed(self, data: torch.Tensor) -> int:
        """The address of a copy of ``data`` (bytes) that is aligned as launchers expect."""
        room = torch.empty(data.numel() + _ALIGNMENT, dtype=torch.uint8, device=self.device)
        start = -room.data_ptr() % _ALIGNMENT
        room[start : start + data.numel()] = data
        self._kept.append(room)
        return room.data_ptr() + start


def _packed(
    operand: OperandSpec,
    source: KernelSource,
    position: int,
    problem: Problem,
    generator: np.random.Generator,
) -> np.ndarray:
    """A random constant as the kernel reads it."""
    shape = problem.shape(operand.type.shape)
    values = generator.standard_normal(shape, dtype=np.float32)
    if position in source.packings:
        return np.asarray(source.packings[position](values))
    dtype = operand.type.dtype.numpy if operand.type.dtype is not DType.bool else np.dtype(bool)
    return np.ascontiguousarray(values.astype(dtype).transpose(operand.type.layout.order))
