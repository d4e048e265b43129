"""From a recipe argument and options to a model and its engine."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import RecipeError, TargetError
from ..extend.manager import PluginSet
from ..recipes.find import find_recipe
from ..recipes.loader import load_recipe, override
from ..recipes.schema import Recipe, for_target
from ..report.progress import ProgressListener
from ..settings import Settings
from .installed import installed_plugins
from .options import BatchChoice, CompileOptions

if TYPE_CHECKING:
    import torch

DEFAULT_TARGETS = ("cuda", "cpu")
"""Tried in this order where none is named; targets of other plugins are used when named."""
ARCH_PREFIXES = {"sm_": "cuda"}


@dataclass(frozen=True)
class Prepared:
    """A recipe with its overrides, for a target that is settled."""

    recipe: Recipe
    folder: Path
    target: str
    options: CompileOptions
    settings: Settings
    plugins: PluginSet

    @property
    def precision(self) -> str | None:
        stated: str | dict[str, str] | None = self.recipe.precision  # type: ignore[assignment]
        return self.options.precision or for_target(stated, self.target)

    @property
    def batch(self) -> BatchChoice | None:
        """The range of the dynamic batch; None for a model whose shapes are all fixed."""
        if not self.recipe.dynamic:
            return None
        symbol = batch_symbol(self.recipe)
        section = self.recipe.dynamic[symbol]
        if self.options.batch:
            return BatchChoice.parse(self.options.batch)
        return BatchChoice(section.min, section.max)

    @property
    def tune_batches(self) -> tuple[int, ...]:
        """The sizes that kernels are chosen for, within the range."""
        choice = self.batch
        if choice is None:
            return ()
        section = self.recipe.dynamic[batch_symbol(self.recipe)]
        return choice.sizes or _within(for_target(section.tune, self.target), choice)

    @property
    def benchmark_batches(self) -> tuple[int, ...]:
        """The sizes to measure; empty stands for the engine's smallest."""
        choice = self.batch
        if choice is None:
            return ()
        sizes = _within(for_target(self.recipe.benchmark.batch, self.target), choice)
        return choice.sizes or sizes or tuple(sorted({choice.low, choice.high}))


def batch_symbol(recipe: Recipe) -> str:
    """The one dynamic symbol of ``recipe``.

    Raises :class:`~fx2ait_core.errors.RecipeError` when there are several, or when it is not the
    leading dimension, which this version cannot compile.
    """
    symbols = sorted(recipe.dynamic)
    places = {
        (axis, dim) for item in recipe.inputs for axis, dim in enumerate(item.shape) if isinstance(dim, str)
    }
    if len(symbols) != 1 or any(axis != 0 for axis, _ in places):
        raise RecipeError(
            f"recipe {recipe.name}: dynamic dimensions are so far limited to one, the leading one (the "
            f"batch); found {', '.join(f'{dim} at axis {axis}' for axis, dim in sorted(places))}"
        )
    return symbols[0]


def prepare(recipe_argument: str, options: CompileOptions) -> Prepared:
    """Find the recipe, apply overrides, settle the target. Nothing heavy is imported or run."""
    settings = options.settings()
    plugins = installed_plugins(settings)
    path = find_recipe(recipe_argument, plugins.registry.recipe_folders)
    recipe = override(load_recipe(path), options.set_ or [])
    if options.batch:
        BatchChoice.parse(options.batch)
    if options.batch and not recipe.dynamic:
        raise RecipeError(f"recipe {recipe.name}: --batch needs a dynamic symbol; its sizes are all fixed")
    target = _target(options, recipe, plugins, settings)
    return Prepared(recipe, path.parent, target, options, settings, plugins)


def check_machine(prepared: Prepared, *, to_run: bool) -> None:
    """Raises :class:`~fx2ait_core.errors.TargetError` where the target or the architecture does not exist or,
    with ``to_run``, where an engine for it cannot be called here: before the model is made and compiled."""
    backend = prepared.plugins.registry.backend(prepared.target)
    target = backend.detect(prepared.options.arch, prepared.settings)
    if to_run and (reason := backend.runs_here(target, prepared.settings)) is not None:
        raise TargetError(
            f"an engine for {target.name} {target.arch} cannot run on this machine ({reason}); use "
            "`fx2ait compile` to build the file, or leave --arch out"
        )


def make_model(prepared: Prepared, progress: ProgressListener) -> torch.nn.Module:
    """The recipe's model, in eval mode on the CPU."""
    from ..recipes.instantiate import instantiate  # noqa: PLC0415  # imports torch

    progress.stage("model")
    return instantiate(prepared.recipe, prepared.folder)


@dataclass(frozen=True)
class Compiled:
    """An engine, or a library for a machine that is not this one, and the seconds it took."""

    engine: Any
    seconds: float


def compile_model(model: torch.nn.Module, prepared: Prepared, progress: ProgressListener) -> Compiled:
    """Compile ``model`` as the recipe and the options say."""
    from ..compiler import compile  # noqa: PLC0415  # imports torch
    from ..recipes.instantiate import example_inputs  # noqa: PLC0415

    recipe, choice = prepared.recipe, prepared.batch
    is_fixed = choice is None or choice.low == choice.high
    started = time.perf_counter()
    engine = compile(
        model,
        example_inputs(recipe, batch=choice.low if choice is not None and is_fixed else None),
        target=prepared.target,
        arch=prepared.options.arch,
        precision=prepared.precision,
        dynamic_batch=None if choice is None or is_fixed else (choice.low, choice.high),
        fixed_inputs=[item.name for item in recipe.inputs if not isinstance(next(iter(item.shape), 0), str)],
        tune_batches=() if is_fixed else prepared.tune_batches,
        input_names=[item.name for item in recipe.inputs],
        name=recipe.name,
        tune=recipe.tuning and prepared.settings.tune and not prepared.options.no_tune,
        dump_ir=prepared.options.dump_ir,
        settings=prepared.settings,
        progress=progress,
    )
    return Compiled(engine, time.perf_counter() - started)


def engine_for(
    prepared: Prepared, model: torch.nn.Module, file: Path | None, progress: ProgressListener
) -> Any:
    """The engine saved in ``file``, or one compiled now (from the caches where possible)."""
    if file is None:
        return compile_model(model, prepared, progress).engine
    from ..compiler import load  # noqa: PLC0415  # imports torch

    progress.stage("load")
    engine = load(file, settings=prepared.settings)
    _check_inputs(prepared.recipe, file, engine.manifest)
    return engine


def _check_inputs(recipe: Recipe, file: Path, manifest: Mapping[str, Any]) -> None:
    """Whether an engine takes what the recipe describes, up to names and the first dimension, the batch.

    Raises :class:`~fx2ait_core.errors.RecipeError` where it is that of another model.
    """
    taken = [(port["name"], tuple(port["shape"])) for port in manifest["inputs"]]
    described = [(item.name, item.shape) for item in recipe.inputs]
    if [shape[1:] for _, shape in taken] != [shape[1:] for _, shape in described]:
        takes, describes = (
            ", ".join(f"{name}: [{', '.join(map(str, shape))}]" for name, shape in inputs)
            for inputs in (taken, described)
        )
        raise RecipeError(
            f"{file} is an engine of {manifest['name']}, which takes {takes}; the recipe {recipe.name} "
            f"describes {describes}"
        )


def for_engine(prepared: Prepared, engine: Any) -> Prepared:
    """``prepared`` with the target that ``engine`` was compiled for."""
    return replace(prepared, target=engine.manifest["target"]["name"])


def _target(options: CompileOptions, recipe: Recipe, plugins: PluginSet, settings: Settings) -> str:
    if options.target:
        return options.target
    for prefix, target in ARCH_PREFIXES.items():
        if options.arch and options.arch.startswith(prefix):
            return target
    if recipe.target:
        return recipe.target
    reasons = []
    for name in DEFAULT_TARGETS:
        if (reason := plugins.registry.backend(name).available(settings)) is None:
            return name
        reasons.append(f"{name}: {reason}")
    raise TargetError("no target can be used here: " + "; ".join(reasons))


def _within(sizes: Iterable[int] | None, choice: BatchChoice) -> tuple[int, ...]:
    return tuple(size for size in sizes or () if choice.low <= size <= choice.high)
