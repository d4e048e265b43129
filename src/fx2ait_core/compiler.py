"""The compiler: calls the rooms in order."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from . import builtin
from .build.compile_cache import CompileCache
from .build.library import Progress as BuildProgress
from .build.library import Recipe, build
from .capture import BATCH, CapturedProgram, batch_dimensions, capture, names_of_inputs
from .emit.emit import emit
from .emit.source_tree import SourceTree
from .errors import TargetError
from .extend.contributions import PassContext
from .extend.manager import PluginSet, load_plugins
from .extend.problem import Problem
from .ir.dims import DimRange
from .ir.dtypes import DType
from .ir.graph import Graph
from .lower import lower
from .memo import CompilationMemo, compilation_key
from .normalize import normalize
from .partition import partition
from .passes.pipeline import run_passes
from .plan.plan import Plan
from .plan.planner import plan
from .report.progress import ProgressListener, SilentProgress
from .runtime import artifact
from .runtime.engine import Engine
from .runtime.measure import measurer, tuning_device
from .settings import Settings
from .target.backend import Backend
from .target.target import Target
from .tune.cache import TuningCache
from .tune.offers import Choice, Offer, Policy
from .tune.selection import select_all

PRECISIONS = {"fp32": DType.float32, "fp16": DType.float16, "bf16": DType.bfloat16}


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
class Machine:
    """What is compiled for, in which precision, and the plugins that do it."""

    backend: Backend
    target: Target
    precision: DType
    plugins: PluginSet


def compile(
    model: torch.nn.Module,
    example_inputs: Sequence[torch.Tensor] | torch.Tensor,
    *,
    target: str | None = None,
    arch: str | None = None,
    precision: str | None = None,
    dynamic_batch: tuple[int, int] | None = None,
    fixed_inputs: Sequence[str] = (),
    tune_batches: Sequence[int] = (),
    input_names: Sequence[str] | None = None,
    name: str | None = None,
    tune: bool | None = None,
    no_plugins: Sequence[str] = (),
    dump_ir: Path | None = None,
    settings: Settings | None = None,
    progress: ProgressListener | None = None,
) -> Engine | CompiledLibrary:
    """Compile ``model`` ahead of time and return an engine that is called like it.

    :param example_inputs: tensors of the shapes and dtypes that the engine will take.
    :param target: ``"cuda"`` or ``"cpu"`` (or a plugin's); default: the best one that works here.
    :param arch: an architecture of the target, e.g. ``"sm_90a"``; default: the machine at hand. For
        another machine the result is a :class:`CompiledLibrary`, and nothing is measured.
    :param precision: ``"fp16"``, ``"bf16"`` or ``"fp32"`` inside the engine; inputs and outputs keep
        the model's dtypes. Default: the target's fastest, fp16 on CUDA and fp32 on the CPU.
    :param dynamic_batch: smallest and largest size of the first dimension of every input.
    :param fixed_inputs: names of inputs that have no batch dimension; their shapes are those of the examples.
    :param tune_batches: sizes within it to choose kernels for.
    :param input_names: default: the parameters of ``model.forward``.
    :param tune: measure kernels on the device; default: as ``settings`` say.
    :param no_plugins: names of plugins to leave out.
    :param dump_ir: a folder for the graph as text after each pass.

    The model is left as it was. Raises a :class:`~fx2ait_core.errors.Fx2aitError` that says what
    cannot be compiled and why.
    """
    settings, progress = _settings(settings, no_plugins), progress or SilentProgress()
    machine = choose_machine(target, arch, precision, settings)
    captured = capture_model(
        model, example_inputs, dynamic_batch, input_names, name, progress, fixed_inputs=fixed_inputs
    )
    runs_here = machine.backend.runs_here(machine.target, settings) is None
    measured = runs_here and (settings.tune if tune is None else tune)

    memo = CompilationMemo(CompileCache.open(settings.cache_dir))
    identity = Recipe.of(machine.backend, machine.target, settings).identity
    options = (
        machine.precision.value, measured, tuple(tune_batches), settings.keep_sources,
        tuple(sorted(settings.disabled_kernels)),
    )  # fmt: skip
    key = compilation_key(captured, machine.target, identity, machine.plugins.packages, options)
    if dump_ir is None and not settings.keep_sources and (known := memo.find(key)):
        return _loaded(known.library, known.manifest, None, runs_here, settings, progress)

    graph = lower_program(captured, machine, dump_ir, progress)
    planned = plan_graph(graph, machine, tune_batches, measured, settings, progress)
    progress.stage("emit")
    tree = emit(planned, machine.backend)
    progress.stage("build")
    built = build(tree, machine.backend, machine.target, settings, _unit_reporter(progress))
    manifest = {**tree_manifest(tree), "output_structure": captured.output_structure}
    memo.record(key, built.key, manifest)
    return _loaded(built.path, manifest, built.sources, runs_here, settings, progress)


def _loaded(
    library: Path,
    manifest: Mapping[str, Any],
    sources: Path | None,
    runs_here: bool,
    settings: Settings,
    progress: ProgressListener,
) -> Engine | CompiledLibrary:
    if not runs_here:
        return CompiledLibrary(library, manifest, sources)
    progress.stage("load")
    return Engine(library, manifest, settings, sources)


def emit_only(
    model: torch.nn.Module,
    example_inputs: Sequence[torch.Tensor] | torch.Tensor,
    *,
    target: str | None = None,
    arch: str | None = None,
    precision: str | None = None,
    dynamic_batch: tuple[int, int] | None = None,
    fixed_inputs: Sequence[str] = (),
    tune_batches: Sequence[int] = (),
    input_names: Sequence[str] | None = None,
    name: str | None = None,
    no_plugins: Sequence[str] = (),
    dump_ir: Path | None = None,
    settings: Settings | None = None,
    progress: ProgressListener | None = None,
) -> SourceTree:
    """The source tree alone, kernels chosen without measuring; parameters as for :func:`compile`."""
    settings, progress = _settings(settings, no_plugins), progress or SilentProgress()
    machine = choose_machine(target, arch, precision, settings)
    captured = capture_model(
        model, example_inputs, dynamic_batch, input_names, name, progress, fixed_inputs=fixed_inputs
    )
    graph = lower_program(captured, machine, dump_ir, progress)
    return emit(plan_graph(graph, machine, tune_batches, False, settings, progress), machine.backend)


def choose_machine(
    target: str | None, arch: str | None, precision: str | None, settings: Settings
) -> Machine:
    """Load the plugins and settle what to compile for; parameters as for :func:`compile`."""
    plugins = load_plugins(settings, [builtin])
    backend = choose_backend(plugins, target, arch, settings)
    detected = backend.detect(arch, settings)
    return Machine(backend, detected, _precision(precision, detected), plugins)


def capture_model(
    model: torch.nn.Module,
    example_inputs: Sequence[torch.Tensor] | torch.Tensor,
    dynamic_batch: tuple[int, int] | None,
    input_names: Sequence[str] | None,
    name: str | None,
    progress: ProgressListener,
    *,
    fixed_inputs: Sequence[str] = (),
) -> CapturedProgram:
    """Capture and normalize; parameters as for :func:`compile`."""
    progress.stage("capture")
    examples = (example_inputs,) if isinstance(example_inputs, torch.Tensor) else tuple(example_inputs)
    symbols: Mapping[str, DimRange] = {}
    dynamic: Mapping[int, Mapping[int, str]] = {}
    if dynamic_batch is not None and isinstance(model, torch.nn.Module):
        named = dict(zip(names_of_inputs(model, len(examples), input_names), examples, strict=True))
        symbols, dynamic = batch_dimensions(dynamic_batch, named, fixed_inputs)
    captured = capture(model, examples, dynamic=dynamic, symbols=symbols, input_names=input_names, name=name)
    normalize(captured.graph)
    return captured


def lower_program(
    captured: CapturedProgram, machine: Machine, dump_ir: Path | None, progress: ProgressListener
) -> Graph:
    """Partition, lower and optimize."""
    registry = machine.plugins.registry
    progress.stage("lower")
    graph = lower(partition(captured, registry, machine.plugins.install_hint))
    progress.stage("optimize")
    passes = [contribution.value for contribution in registry.passes]
    return run_passes(graph, passes, PassContext(machine.target, machine.precision, registry), dump=dump_ir)


def plan_graph(
    graph: Graph,
    machine: Machine,
    tune_batches: Sequence[int],
    measured: bool,
    settings: Settings,
    progress: ProgressListener,
) -> Plan:
    """Choose kernels, by measurement or by estimate, and place everything in memory."""
    progress.stage("tune" if measured else "plan")
    device = tuning_device(machine.backend, machine.target, settings)
    report = _candidate_reporter(progress)
    measure = measurer(machine.backend, machine.target, settings, report) if measured else None
    policy = Policy(within=machine.backend.measured_within, at_most=machine.backend.measured_at_most)
    with TuningCache.open(settings.cache_dir) as cache:

        def select(requests: Sequence[tuple[Problem, Sequence[Offer]]]) -> Sequence[Choice]:
            chosen = select_all(requests, measure, cache, device, policy)
            if measured:
                progress.stage("plan")
            return chosen

        return plan(
            graph,
            machine.target,
            machine.plugins.registry,
            select,
            precision=machine.precision.value,
            tune_sizes=[{BATCH: size} for size in tune_batches] if graph.symbols else (),
            plugins=machine.plugins.versions,
        )


def _unit_reporter(progress: ProgressListener) -> Callable[[BuildProgress], None]:
    return lambda state: progress.units(state.done, state.total, state.unit)


def _candidate_reporter(progress: ProgressListener) -> Callable[[BuildProgress], None]:
    """Tells of candidates that are compiled and of those that are measured as stages of their own."""
    present = ""

    def report(state: BuildProgress) -> None:
        nonlocal present
        if state.stage != present:
            present = state.stage
            progress.stage(f"{present} candidates")
        progress.units(state.done, state.total, state.unit)

    return report


def load(path: Path | str, *, settings: Settings | None = None) -> Engine:
    """The engine saved in ``path``; everything is checked before any of its code is loaded.

    Raises :class:`~fx2ait_core.errors.ArtifactError` with the reason.
    """
    settings = settings or Settings.from_environment()
    registry = load_plugins(settings, [builtin]).registry

    def detect(name: str, arch: str | None) -> Target:
        backend = registry.backend(name)
        if (reason := backend.available(settings)) is not None:
            raise TargetError(reason)
        return backend.detect(arch, settings)

    return artifact.load(Path(path), settings, detect)


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
