"""``fx2ait verify``: an engine against the original module."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..report.columns import verification_cells
from ..report.tables import table
from .command import EXIT_ERROR, command
from .compiling import Prepared, check_machine, engine_for, for_engine, make_model, prepare
from .options import CompileOptions, JsonOption, RecipeArgument
from .output import complain, progress, show

if TYPE_CHECKING:
    import torch

    from ..bench.verify import VerificationReport


@dataclass(frozen=True)
class VerifyOptions:
    """What is compared."""

    samples: Annotated[
        int | None, typer.Option("--samples", min=1, help="Random samples (default: the recipe's)")
    ] = None
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Make the samples reproducible (default: fresh ones)")
    ] = None


def verify_engine(
    engine: Any, model: torch.nn.Module, prepared: Prepared, options: VerifyOptions
) -> VerificationReport:
    """The report against the recipe's limits; a failed one is returned, not raised."""
    from ..bench.verify import SHORT_NAMES, Limits, engine_precision, verify  # noqa: PLC0415  # imports torch

    section = prepared.recipe.verify
    precision = SHORT_NAMES[engine_precision(engine.manifest)]
    limits = Limits(
        section.relative_limit(prepared.target, precision),
        section.max_absolute_error,
        section.min_top1_agreement,
    )
    return verify(engine, model, samples=options.samples or section.samples, limits=limits, seed=options.seed)


@command
def verify(
    recipe: RecipeArgument,
    options: CompileOptions,
    checks: VerifyOptions,
    engine: Annotated[
        Path | None, typer.Option("--engine", help="A saved engine, in place of compiling one.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare an engine with the original module on fresh random inputs.

    PyTorch's own error at the same precision is shown beside the engine's. Exit code 2 when a limit
    of the recipe is exceeded.

    Examples:

        fx2ait verify resnet18 --samples 64

        fx2ait verify resnet18 --engine resnet18.fx2ait --json
    """
    prepared = prepare(recipe, options)
    if engine is None:
        check_machine(prepared, to_run=True)
    with progress(quiet=json) as listener:
        model = make_model(prepared, listener)
        made = engine_for(prepared, model, engine, listener)
        listener.stage("verify")
        report = verify_engine(made, model, for_engine(prepared, made), checks)
    show(json, report, lambda: [table(verification_cells(report))])
    if not report.passed:
        complain("; ".join(report.violations))
        raise typer.Exit(EXIT_ERROR)
