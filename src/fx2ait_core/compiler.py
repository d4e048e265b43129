"""The compiler: calls the rooms in order."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch

from . import builtin
from .build.library import BuiltLibrary, build
from .build.library import Progress as BuildProgress
from .capture import BATCH, capture
from .emit.emit import emit
from .emit.source_tree import SourceTree
from .errors import CaptureError, TargetError
from .extend.contributions import PassContext
from .extend.manager import PluginSet, load_plugins
from .extend.problem import Problem
from .ir.dims import DimRange
from .ir.dtypes import DType
from .ir.graph import Graph
from .lower import lower
from .normalize import normalize
from .partition import partition
from .passes.pipeline import run_passes
from .plan.plan import Plan
from .plan.planner import plan
from .runtime import artifact
from .runtime.engine import Engine
from .runtime.measure import measurer, tuning_device
from .settings import Settings
from .target.backend import Backend
from .target.target import Target
from .tune.cache import TuningCache
from .tune.offers import Choice, Offer
from .tune.selection import select_all

PRECISIONS = {"fp32": DType.float32, "fp16": DType.float16, "bf16": DType.bfloat16}


class Progress(Protocol):
    """What the compiler tells: the stage it enters, and how many of the stage's units are done."""

    def stage(self, name: str) -> None: ...
    def units(self, done: int, total: int, label: str) -> None: ...


class _Silent:
    def stage(self, name: str) -> None:
        pass

    def units(self, done: int, total: int, label: str) -> None:
        pass


@dataclass(frozen=True)
class CompiledLibrary:
    """An engine for a machine that is not this one: it can be saved, but not called."""

    library_path: Path
    manifest: Mapping[str, Any]
    source_directory: Path | None = None

    def save(self, path: Path | str) -> Path:
        """Write the engine file; see :func:`fx2ait_core.runtime.artifact.save`."""
        return artifact.save(self, Path(path))


@dataclass(frozen=True)
class Lowered:
    """A model as an optimized graph for a target, ready to be planned."""

    graph: Graph
    target: Target
    precision: DType
    backend: Backend
    plugins: PluginSet
    structure: str


def compile(
    model: torch.nn.Module,
    example_inputs: Sequence[torch.Tensor] | torch.Tensor,
    *,
    target: str | None = None,
    arch: str | None = None,
    precision: str | None = None,
    dynamic_batch: tuple[int, int] | None = None,
    tune_batches: Sequence[int] = (),
    input_names: Sequence[str] | None = None,
    name: str | None = None,
    tune: bool | None = None,
    no_plugins: Sequence[str] = (),
    dump_ir: Path | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Engine | CompiledLibrary:
    """Compile ``model`` ahead of time and return an engine that is called like it.

    :param example_inputs: tensors of the shapes and dtypes that the engine will take.
    :param target: ``"cuda"`` or ``"cpu"`` (or a plugin's); default: the best one that works here.
    :param arch: an architecture of the target, e.g. ``"sm_90a"``; default: the machine at hand. For
        another machine the result is a :class:`CompiledLibrary`, and nothing is measured.
    :param precision: ``"fp16"``, ``"bf16"`` or ``"fp32"`` inside the engine; inputs and outputs keep
        the model's dtypes. Default: the target's fastest, fp16 on CUDA and fp32 on the CPU.
    :param dynamic_batch: smallest and largest size of the first dimension of every input.
    :param tune_batches: sizes within it to choose kernels for.
    :param input_names: default: the parameters of ``model.forward``.
    :param tune: measure kernels on the device; default: as ``settings`` say.
    :param no_plugins: names of plugins to leave out.
    :param dump_ir: a folder for the graph as text after each pass.

    The model is left as it was. Raises a :class:`~fx2ait_core.errors.Fx2aitError` that says what
    cannot be compiled and why.
    """
    settings, progress = _settings(settings, no_plugins), progress or _Silent()
    lowered = lower_model(
        model,
        example_inputs,
        target=target,
        arch=arch,
        precision=precision,
        dynamic_batch=dynamic_batch,
        input_names=input_names,
        name=name,
        dump_ir=dump_ir,
        settings=settings,
        progress=progress,
    )
    runs_here = _runs_here(lowered, settings)
    measured = runs_here and (settings.tune if tune is None else tune)
    planned = plan_model(lowered, tune_batches, measured, settings, progress)
    progress.stage("emit")
    tree = emit(planned, lowered.backend)
    progress.stage("build")
    built = build_tree(tree, lowered, settings, progress)
    manifest = {**tree_manifest(tree), "output_structure": lowered.structure}
    if not runs_here:
        return CompiledLibrary(built.path, manifest, built.sources)
    progress.stage("load")
    return Engine(built.path, manifest, settings, built.sources)


def emit_only(
    model: torch.nn.Module,
    example_inputs: Sequence[torch.Tensor] | torch.Tensor,
    *,
    tune_batches: Sequence[int] = (),
    no_plugins: Sequence[str] = (),
    settings: Settings | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> SourceTree:
    """The source tree alone, kernels chosen without measuring; options as for :func:`compile`."""
    settings, progress = _settings(settings, no_plugins), progress or _Silent()
    lowered = lower_model(model, example_inputs, settings=settings, progress=progress, **options)
    return emit(plan_model(lowered, tune_batches, False, settings, progress), lowered.backend)


def lower_model(
    model: torch.nn.Module,
    example_inputs: Sequence[torch.Tensor] | torch.Tensor,
    *,
    target: str | None = None,
    arch: str | None = None,
    precision: str | None = None,
    dynamic_batch: tuple[int, int] | None = None,
    input_names: Sequence[str] | None = None,
    name: str | None = None,
    dump_ir: Path | None = None,
    settings: Settings,
    progress: Progress,
) -> Lowered:
    """Capture, partition, lower and optimize; parameters as for :func:`compile`."""
    plugins = load_plugins(settings, [builtin])
    backend = choose_backend(plugins, target, arch, settings)
    machine = backend.detect(arch, settings)
    dtype = _precision(precision, machine)
    examples = (example_inputs,) if isinstance(example_inputs, torch.Tensor) else tuple(example_inputs)
    progress.stage("capture")
    symbols, dynamic = _dynamic(dynamic_batch, examples)
    captured = capture(model, examples, dynamic=dynamic, symbols=symbols, input_names=input_names, name=name)
    normalize(captured.graph)
    progress.stage("lower")
    graph = lower(partition(captured, plugins.registry, plugins.install_hint))
    progress.stage("optimize")
    passes = [contribution.value for contribution in plugins.registry.passes]
    run_passes(graph, passes, PassContext(machine, dtype, plugins.registry), dump=dump_ir)
    return Lowered(graph, machine, dtype, backend, plugins, captured.output_structure)


def plan_model(
    lowered: Lowered, tune_batches: Sequence[int], measured: bool, settings: Settings, progress: Progress
) -> Plan:
    """Choose kernels, by measurement or by estimate, and place everything in memory."""
    progress.stage("tune" if measured else "plan")
    backend, machine = lowered.backend, lowered.target
    device = tuning_device(backend, machine, settings)
    report = _unit_reporter(progress)
    measure = measurer(backend, machine, settings, report) if measured else None
    with TuningCache.open(settings.cache_dir) as cache:

        def select(requests: Sequence[tuple[Problem, Sequence[Offer]]]) -> Sequence[Choice]:
            return select_all(requests, measure, cache, device)

        return plan(
            lowered.graph,
            lowered.target,
            lowered.plugins.registry,
            select,
            precision=lowered.precision.value,
            tune_sizes=[{BATCH: size} for size in tune_batches] if lowered.graph.symbols else (),
            plugins=lowered.plugins.versions,
        )


def build_tree(tree: SourceTree, lowered: Lowered, settings: Settings, progress: Progress) -> BuiltLibrary:
    """Compile and link, or take the library from the cache."""
    return build(tree, lowered.backend, lowered.target, settings, _unit_reporter(progress))


def _unit_reporter(progress: Progress) -> Callable[[BuildProgress], None]:
    return lambda state: progress.units(state.done, state.total, state.unit)


def load(path: Path | str, *, settings: Settings | None = None) -> Engine:
    """The engine saved in ``path``; everything is checked before any of its code is loaded.

    Raises :class:`~fx2ait_core.errors.ArtifactError` with the reason.
    """
    settings = settings or Settings.from_environment()
    registry = load_plugins(settings, [builtin]).registry
    return artifact.load(Path(path), settings, lambda name: registry.backend(name).detect(None, settings))


def plugins(*, settings: Settings | None = None) -> PluginSet:
    """The installed plugins: a row each, and the registry of what they bring."""
    return load_plugins(settings or Settings.from_environment(), [builtin])


def choose_backend(plugins: PluginSet, target: str | None, arch: str | None, settings: Settings) -> Backend:
    """The backend called ``target``; without a name, the GPU's where one is usable, else the CPU's."""
    if target is not None:
        return plugins.registry.backend(target)
    if arch is not None and arch.startswith("sm_"):
        return plugins.registry.backend("cuda")
    cuda = plugins.registry.backend("cuda")
    return cuda if cuda.available(settings) is None else plugins.registry.backend("cpu")


def tree_manifest(tree: SourceTree) -> dict[str, Any]:
    """``manifest.json`` of the tree."""
    return dict(json.loads(tree.text("manifest.json")))


def _settings(settings: Settings | None, no_plugins: Sequence[str]) -> Settings:
    settings = settings or Settings.from_environment()
    return replace(settings, disabled_plugins=(*settings.disabled_plugins, *no_plugins))


def _precision(precision: str | None, machine: Target) -> DType:
    if precision is None:
        return machine.compute_dtypes[0]
    dtype = PRECISIONS.get(precision)
    if dtype is None:
        raise TargetError(f"precision {precision!r} is unknown; use one of {', '.join(PRECISIONS)}")
    if dtype not in machine.compute_dtypes:
        offered = ", ".join(name for name, item in PRECISIONS.items() if item in machine.compute_dtypes)
        raise TargetError(f"{machine} does not compute in {precision}; it offers {offered}")
    return dtype


def _dynamic(
    dynamic_batch: tuple[int, int] | None, examples: Sequence[torch.Tensor]
) -> tuple[dict[str, DimRange], dict[int, dict[int, str]]]:
    if dynamic_batch is None:
        return {}, {}
    try:
        limits = DimRange(*dynamic_batch)
    except (TypeError, ValueError) as error:
        raise CaptureError(
            f"dynamic_batch={dynamic_batch!r} is not a range (smallest, largest): {error}"
        ) from None
    if limits.max == 1:
        return {}, {}
    for position, tensor in enumerate(examples):
        if isinstance(tensor, torch.Tensor) and tensor.ndim == 0:
            raise CaptureError(f"example input {position} has no dimension that could be the batch")
    return {BATCH: limits}, {position: {0: BATCH} for position in range(len(examples))}


def _runs_here(lowered: Lowered, settings: Settings) -> bool:
    if lowered.backend.available(settings) is not None:
        return False
    here = lowered.backend.detect(None, settings)
    return here.arch == lowered.target.arch
