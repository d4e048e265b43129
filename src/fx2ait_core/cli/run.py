"""``fx2ait run``: compile, verify and benchmark a recipe."""

from __future__ import annotations

from ..report.columns import verification_cells
from ..report.plain import plain
from ..report.tables import table
from .benchmark import (
    BenchmarkOptions,
    benchmark_engine,
    benchmark_json,
    benchmark_output,
    check_options,
    layer_report,
    write_files,
)
from .command import command
from .compiling import check_machine, compile_model, make_model, prepare
from .options import CompileOptions, JsonOption, RecipeArgument
from .output import progress, show
from .verify import VerifyOptions, verify_engine


@command
def run(
    recipe: RecipeArgument,
    options: CompileOptions,
    checks: VerifyOptions,
    measuring: BenchmarkOptions,
    json: JsonOption = False,
) -> None:
    """Compile, verify and benchmark a recipe, and print the table.

    Examples:

        fx2ait run resnet18

        fx2ait run resnet50 --target cpu --batch 1,8 --rounds 5

        fx2ait run my_model.yaml --set verify.samples=32 --plot speed.png
    """
    prepared = prepare(recipe, options)
    check_options(measuring, prepared.target)
    check_machine(prepared, to_run=True)
    with progress(quiet=json) as listener:
        model = make_model(prepared, listener)
        compiled = compile_model(model, prepared, listener)
        engine = compiled.engine
        listener.stage("verify")
        verification = verify_engine(engine, model, prepared, checks)
        verification.raise_if_failed()
        report = benchmark_engine(engine, model, prepared, measuring, listener)
        by_layer = layer_report(engine, prepared, measuring, listener)
    value = {
        "recipe": prepared.recipe.name,
        "target": plain(engine.manifest["target"]),
        "compile_seconds": compiled.seconds,
        "verification": verification,
        "benchmark": benchmark_json(report, by_layer),
    }
    show(json, value, lambda: [table(verification_cells(verification)), *benchmark_output(report, by_layer)])
    write_files(report, by_layer, measuring)
