"""``fx2ait benchmark``: an engine beside PyTorch."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.markup import escape

from ..errors import SettingsError
from ..report.columns import benchmark_cells
from ..report.layers import layer_cells, layers_record
from ..report.markdown import markdown
from ..report.plain import benchmark_record, to_json
from ..report.plot import check_plot, plot_benchmark
from ..report.progress import ProgressListener
from ..report.tables import table
from .command import command
from .compiling import Prepared, check_machine, engine_for, for_engine, make_model, prepare
from .options import CompileOptions, JsonOption, RecipeArgument
from .output import check_writable, progress, show, written_whole

if TYPE_CHECKING:
    import torch

    from ..bench.benchmark import BenchmarkReport
    from ..bench.layers import LayerReport
    from ..bench.rivals import Rival

PEAK_SOURCES = ("target", "measured")


@dataclass(frozen=True)
class BenchmarkOptions:
    """What is measured, and where it is written."""

    rounds: Annotated[
        int | None, typer.Option("--rounds", min=1, help="Interleaved rounds (default: the recipe's)")
    ] = None
    rivals: Annotated[
        str | None,
        typer.Option(
            "--rivals",
            metavar="NAMES",
            help="Paths measured beside the engine, by commas, or none (default: on cuda eager_fp16, "
            "eager_fp16_channels_last, torch_compile; on cpu eager, eager_channels_last, torch_compile).",
        ),
    ] = None
    compile_modes: Annotated[
        str | None,
        typer.Option(
            "--compile-modes", metavar="MODES", help="Modes of torch.compile to try; the fastest is kept."
        ),
    ] = None
    layers: Annotated[
        bool,
        typer.Option("--layers", help="Time every launch too, beside the least that it could take."),
    ] = False
    peaks: Annotated[
        str,
        typer.Option(
            "--peaks",
            metavar="SOURCE",
            help="Where the peaks behind --layers come from: target, or measured (by PyTorch, here).",
        ),
    ] = "target"
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Write a plot (.png, .svg, .pdf).")
    ] = None
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the table as Markdown.")
    ] = None
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="Write rows and surroundings as JSON.")
    ] = None

    def chosen_rivals(self, target: str) -> tuple[Rival, ...]:
        """The rivals on ``target``; raises :class:`~fx2ait_core.errors.SettingsError` for an unknown one."""
        from ..bench.rivals import usual_rivals  # noqa: PLC0415  # imports torch

        all_rivals = usual_rivals(target, _names(self.compile_modes))
        if self.rivals is None:
            return all_rivals
        names = [name for name in _names(self.rivals) if name != "none"]
        known = list(dict.fromkeys(rival.path for rival in all_rivals))
        if unknown := [name for name in names if name not in known]:
            raise SettingsError(
                f"--rivals: no {', '.join(unknown)} on {target}; known: {', '.join(known)} (or none)"
            )
        return tuple(rival for rival in all_rivals if rival.path in names)


def benchmark_engine(
    engine: Any,
    model: torch.nn.Module,
    prepared: Prepared,
    options: BenchmarkOptions,
    listener: ProgressListener,
) -> BenchmarkReport:
    """Measure ``engine`` as the recipe and the options say."""
    from ..bench.benchmark import benchmark as measure  # noqa: PLC0415  # imports torch

    report = measure(
        engine,
        model,
        prepared.benchmark_batches,
        options.chosen_rivals(prepared.target),
        rounds=options.rounds or prepared.recipe.benchmark.rounds,
        threads=prepared.settings.threads if prepared.target == "cpu" else None,
        progress=listener,
    )
    limit = prepared.recipe.verify.relative_limit(prepared.target, report.precision)
    return replace(report, notes=(*report.notes, *_wrong_note(report, limit)))


def _wrong_note(report: BenchmarkReport, limit: float) -> tuple[str, ...]:
    """What is to be said of times where the engine, of another model perhaps, answers wrongly."""
    from ..bench.benchmark import ENGINE  # noqa: PLC0415  # imports torch

    engine_rows = [row for row in report.rows if row.path == ENGINE]
    if not (wrong := [f"{row.batch}" for row in engine_rows if not row.relative_l2 <= limit]):
        return ()
    return (
        f"the engine differs from the recipe's model by more than {limit:.1e} relative L2 at batch "
        f"{', '.join(wrong)}, so that its times are no result; `fx2ait verify` compares the two",
    )


def layer_report(
    engine: Any, prepared: Prepared, options: BenchmarkOptions, listener: ProgressListener
) -> LayerReport | None:
    """Every launch with its time and floor, where the options ask for it."""
    if not options.layers:
        return None
    from ..bench.layers import layers, measured_peaks_of  # noqa: PLC0415  # imports torch

    threads = prepared.settings.threads if prepared.target == "cpu" else None
    return layers(
        engine,
        prepared.benchmark_batches,
        measured_peaks_of(engine.manifest, threads) if options.peaks == "measured" else None,
        threads=threads,
        progress=listener,
    )


def benchmark_json(report: BenchmarkReport, by_layer: LayerReport | None) -> dict[str, Any]:
    """The report in the form of ``benchmarks/results``; ``layers`` where they were asked for."""
    command = shlex.join(["fx2ait", *sys.argv[1:]])
    record = benchmark_record(report, command)
    if by_layer is not None:
        record["layers"] = layers_record(by_layer, command)
    return record


def benchmark_output(report: BenchmarkReport, by_layer: LayerReport | None) -> list[RenderableType]:
    """The table, then the layers at each batch size, then what could not be measured."""
    shown: list[RenderableType] = [table(benchmark_cells(report))]
    if by_layer is not None:
        shown += [table(layer_cells(by_layer, at)) for at in by_layer.tables]
    notes = [*report.notes, *(by_layer.notes if by_layer else ())]
    return [*shown, *(f"[yellow]note:[/] {escape(note)}" for note in notes)]


def check_options(options: BenchmarkOptions, target: str) -> None:
    """Raises for what the options ask in vain, before minutes of compiling and measuring."""
    options.chosen_rivals(target)
    if options.peaks not in PEAK_SOURCES:
        raise SettingsError(f"--peaks: {options.peaks} is none of {', '.join(PEAK_SOURCES)}")
    for path in filter(None, (options.plot, options.markdown, options.record)):
        check_writable(path)
    if options.plot is not None:
        check_plot(options.plot)


def write_files(report: BenchmarkReport, by_layer: LayerReport | None, options: BenchmarkOptions) -> None:
    """Write the files that the options ask for, each whole or not at all."""
    tables = [benchmark_cells(report)]
    if by_layer is not None:
        tables += [layer_cells(by_layer, at) for at in by_layer.tables]
    for path, text in (
        (options.markdown, lambda: "\n".join(map(markdown, tables))),
        (options.record, lambda: to_json(benchmark_json(report, by_layer)) + "\n"),
    ):
        if path is not None:
            with written_whole(path) as partial:
                partial.write_text(text(), encoding="utf-8")
    if options.plot is not None:
        with written_whole(options.plot) as partial:
            plot_benchmark(report, partial)


@command
def benchmark(
    recipe: RecipeArgument,
    options: CompileOptions,
    measuring: BenchmarkOptions,
    engine: Annotated[
        Path | None, typer.Option("--engine", help="A saved engine, in place of compiling one.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Time an engine beside PyTorch, in interleaved rounds, in one process, on the same inputs.

    Examples:

        fx2ait benchmark resnet18 --batch 1,32 --plot resnet18.png

        fx2ait benchmark resnet18 --batch 256 --rivals none --layers

        fx2ait benchmark resnet18 --rivals eager,torch_compile --threads 2 --json
    """
    prepared = prepare(recipe, options)
    check_options(measuring, prepared.target)
    if engine is None:
        check_machine(prepared, to_run=True)
    with progress(quiet=json) as listener:
        model = make_model(prepared, listener)
        made = engine_for(prepared, model, engine, listener)
        settled = for_engine(prepared, made)
        report = benchmark_engine(made, model, settled, measuring, listener)
        by_layer = layer_report(made, settled, measuring, listener)
    show(json, benchmark_json(report, by_layer), lambda: benchmark_output(report, by_layer))
    write_files(report, by_layer, measuring)


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
