"""The cells of each table, as text, shared by the terminal's and Markdown's tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..bench.accuracy import Errors
    from ..bench.benchmark import BenchmarkReport
    from ..bench.verify import VerificationReport

RIVAL_TITLES = {
    "eager": "PyTorch eager",
    "eager_fp16": "PyTorch eager fp16",
    "eager_channels_last": "eager channels-last",
    "eager_fp16_channels_last": "eager fp16 channels-last + cudnn.benchmark",
    "torch_compile": "torch.compile",
    "fx2ait": "fx2ait",
}


@dataclass(frozen=True)
class Cells:
    """A table: titles, rows of text, and which columns hold numbers."""

    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    text_columns: frozenset[int] = frozenset()


def benchmark_cells(report: BenchmarkReport) -> Cells:
    """Batch; baseline latency and images/s; engine latency and images/s; speedup; then each further
    rival's latency and the engine's speedup over it; the engine's error last."""
    rivals = [path for path in report.paths if path not in ("fx2ait", report.baseline)]
    has_baseline = report.baseline in report.paths and report.baseline != "fx2ait"
    titles = ["batch"]
    if has_baseline:
        title = RIVAL_TITLES.get(report.baseline, report.baseline)
        titles += [f"{title} (ms)", "images/s"]
    titles += ["fx2ait (ms)", "images/s"] + ["speedup"] * has_baseline
    for rival in rivals:
        titles += [f"{RIVAL_TITLES.get(rival, rival)} (ms)", "speedup"]
    rows = []
    for batch in report.batches:
        cells = [str(batch)]
        if has_baseline:
            cells += _latency_and_rate(report, batch, report.baseline)
        cells += _latency_and_rate(report, batch, "fx2ait")
        if has_baseline:
            cells.append(_speedup(report, batch, report.baseline))
        for rival in rivals:
            cells += [_latency_and_rate(report, batch, rival)[0], _speedup(report, batch, rival)]
        ours = report.row(batch, "fx2ait")
        rows.append((*cells, f"{ours.relative_l2:.1e}" if ours else "–"))
    return Cells((*titles, "relative L2"), tuple(rows), caption=benchmark_caption(report))


def benchmark_caption(report: BenchmarkReport) -> str:
    """Where and how the figures were measured."""
    surroundings = report.environment
    parts = [f"{report.name}, {report.precision}", surroundings.card]
    if surroundings.driver:
        parts.append(f"driver {surroundings.driver}")
    if surroundings.clocks:
        parts.append(f"SM clock {surroundings.clocks.sm_mhz} of {surroundings.clocks.max_sm_mhz} MHz")
    if report.target == "cpu":
        parts.append(f"{surroundings.threads} threads")
    parts.append(f"torch {surroundings.versions.get('torch', '?')}")
    return ", ".join(parts) + f"; medians of {report.rounds} interleaved rounds (± half the spread)"


def verification_cells(report: VerificationReport) -> Cells:
    """The engine's errors, PyTorch's own beside them, and the limits."""
    limits = report.limits

    def row(title: str, errors: Errors | None) -> tuple[str, ...]:
        if errors is None:
            return title, "–", "–", "–"
        agreement = "–" if errors.top1_agreement is None else f"{errors.top1_agreement:.1%}"
        return title, f"{errors.relative_l2:.2e}", f"{errors.max_absolute:.2e}", agreement

    return Cells(
        ("", "relative L2", "largest absolute", "top-1 agreement"),
        (
            row(f"fx2ait {report.precision}", report.engine),
            row(f"PyTorch {report.precision}", report.pytorch),
            (
                "limit",
                f"{limits.max_relative_error:.2e}",
                "–" if limits.max_absolute_error is None else f"{limits.max_absolute_error:.2e}",
                "–" if limits.min_top1_agreement is None else f"{limits.min_top1_agreement:.1%}",
            ),
        ),
        caption=f"{report.name} on {report.target}: {report.samples} samples against the module in "
        f"{report.reference}, at batch {', '.join(map(str, report.batches))}",
        text_columns=frozenset({0}),
    )


def text_cells(titles: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> Cells:
    """A table of text only; None shows as a dash."""
    return Cells(
        tuple(titles),
        tuple(tuple("–" if cell is None else str(cell) for cell in row) for row in rows),
        caption,
        frozenset(range(len(titles))),
    )


def byte_count(count: int) -> str:
    """Bytes as people write them, e.g. ``12.3 MB``."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


def _latency_and_rate(report: BenchmarkReport, batch: int, path: str) -> list[str]:
    row = report.row(batch, path)
    if row is None:
        return ["–", "–"]
    spread = (row.ms_max - row.ms_min) / 2
    return [f"{_digits(row.ms_median)} ±{_digits(spread)}", f"{row.images_per_s:,.0f}"]


def _speedup(report: BenchmarkReport, batch: int, over: str) -> str:
    ratio = report.speedup(batch, over)
    return "–" if ratio is None else f"{ratio:.2f}x"


def _digits(ms: float) -> str:
    return f"{ms:.3f}" if ms < 10 else f"{ms:.2f}" if ms < 100 else f"{ms:.1f}"
