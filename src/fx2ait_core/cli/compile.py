"""``fx2ait compile``: a recipe to an engine file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..report.columns import byte_count
from ..report.plain import plain
from .command import command
from .compiling import check_machine, compile_model, make_model, prepare
from .options import CompileOptions, JsonOption, RecipeArgument
from .output import check_writable, progress, show

SUFFIX = ".fx2ait"


@command
def compile(
    recipe: RecipeArgument,
    options: CompileOptions,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The engine file (default: RECIPE.fx2ait)"),
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compile a recipe and save the engine as one file.

    With --arch the engine may be for a card that this machine does not have; kernels are then chosen
    by a heuristic instead of by measurement.

    Examples:

        fx2ait compile resnet18 -o resnet18.fx2ait

        fx2ait compile resnet18 --arch sm_90a --batch 1..64 -o resnet18-h100.fx2ait
    """
    prepared = prepare(recipe, options)
    path = output or Path(prepared.recipe.name + SUFFIX)
    check_writable(path)
    check_machine(prepared, to_run=False)
    with progress(quiet=json) as listener:
        model = make_model(prepared, listener)
        compiled = compile_model(model, prepared, listener)
        listener.stage("save")
        compiled.engine.save(path)
    target, size = compiled.engine.manifest["target"], path.stat().st_size
    value = {
        "recipe": prepared.recipe.name,
        "engine": path,
        "bytes": size,
        "target": plain(target),
        "seconds": compiled.seconds,
    }
    show(
        json,
        value,
        lambda: [
            f"{prepared.recipe.name} for {target['name']} {target['arch']}: "
            f"{path} ({byte_count(size)}), compiled in {compiled.seconds:.1f} s"
        ],
    )
