"""A plot of a benchmark: throughput by batch size, one line per path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import MissingDependencyError, SettingsError
from .columns import RIVAL_TITLES, benchmark_caption

if TYPE_CHECKING:
    from ..bench.benchmark import BenchmarkReport

WIDTH, HEIGHT, DOTS_PER_INCH = 8.0, 5.0, 150


def plot_benchmark(report: BenchmarkReport, path: Path) -> None:
    """Write ``path`` (.png, .svg or .pdf): images per second over batch size, both logarithmic, with
    the range between the fastest and the slowest round as a band.

    Raises :class:`~fx2ait_core.errors.MissingDependencyError` without matplotlib.
    """
    figure = new_figure(WIDTH, HEIGHT)
    axes = figure.subplots()
    for name in report.paths:
        rows = [row for batch in report.batches if (row := report.row(batch, name))]
        sizes = [row.batch for row in rows]
        (line,) = axes.plot(
            sizes,
            [row.images_per_s for row in rows],
            marker="o",
            linewidth=2.5 if name == "fx2ait" else 1.2,
            label=RIVAL_TITLES.get(name, name),
        )
        slowest = [row.batch * 1e3 / row.ms_max for row in rows]
        fastest = [row.batch * 1e3 / row.ms_min for row in rows]
        axes.fill_between(sizes, slowest, fastest, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(report.batches, [str(batch) for batch in report.batches])
    axes.set_xlabel("batch")
    axes.set_ylabel("images per second")
    axes.grid(True, which="both", alpha=0.3)
    axes.set_title(benchmark_caption(report), fontsize=8, loc="left", wrap=True)
    axes.legend()
    save_figure(figure, path)


def new_figure(width: float, height: float) -> Any:
    """An empty figure, sizes in inches.

    Raises :class:`~fx2ait_core.errors.MissingDependencyError` without matplotlib.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  # optional, and slow to import
    except ImportError as error:
        raise MissingDependencyError(
            "a plot needs matplotlib: run `pip install 'fx2ait-core[plot]'`"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def check_plot(path: Path) -> None:
    """Raises what :func:`plot_benchmark` would raise for this name, before there is anything to plot."""
    accepted = new_figure(1, 1).canvas.get_supported_filetypes()
    if path.suffix.removeprefix(".").lower() not in accepted:
        known = ", ".join(f".{name}" for name in sorted(accepted))
        raise SettingsError(f"{path}: no plot is written with this suffix; use one of {known}")


def save_figure(figure: Any, path: Path) -> None:
    """Write ``figure`` in the format of the suffix; raises :class:`~fx2ait_core.errors.SettingsError`."""
    try:
        figure.savefig(path, dpi=DOTS_PER_INCH)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: the plot cannot be written: {error}") from error
