"""An engine launch by launch, as a table for people and as a record."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .columns import Cells
from .plain import environment_record, plain

if TYPE_CHECKING:
    from ..bench.layers import Layer, LayerReport, LayerTable
    from ..bench.roofline import Peaks

TITLES = ("node", "kernel", "shapes", "us", "GFLOP", "MB", "floor us", "share", "bound by")


def layer_cells(report: LayerReport, table: LayerTable) -> Cells:
    """A row for each launch, then the sum of launches, then the whole with its share of the roofline."""
    rows = [_row(layer) for layer in table.layers]
    flops, moved = (sum(getattr(layer, key) for layer in table.layers) for key in ("flops", "bytes"))
    total = (f"{flops / 1e9:.2f}", f"{moved / 1e6:.1f}", f"{table.floor_us:.1f}")
    rows.append(("sum of launches", "", "", f"{table.sum_us:.1f}", *total, _percent(table, table.sum_us), ""))
    rows.append(("whole", "", "", f"{table.whole_us:.1f}", *total, _percent(table, table.whole_us), ""))
    return Cells(TITLES, tuple(rows), layer_caption(report, table), frozenset({0, 1, 2, 8}))


def layer_caption(report: LayerReport, table: LayerTable) -> str:
    """What was measured, and what the floors are made of."""
    return (
        f"{report.name}, {report.precision}, batch {table.batch}, {report.environment.card}; floors from "
        f"{peaks_text(report.peaks)}"
    )


def peaks_text(peaks: Peaks) -> str:
    """Where peaks come from, and their rates."""
    rates = ", ".join(f"{value:.4g} TFLOP/s {dtype}" for dtype, value in peaks.tflops.items())
    return f"{peaks.source} peaks: {rates}, {peaks.memory_gbps:.4g} GB/s"


def layers_record(report: LayerReport, command: str) -> dict[str, Any]:
    """The report as kept under ``benchmarks/results``: ``batches`` hold totals and a row per launch."""
    return {
        "model": report.name,
        "target": report.target,
        "precision": report.precision,
        **environment_record(report.environment),
        "command": command,
        "peaks": plain(report.peaks),
        "notes": plain(report.notes),
        "batches": [_table_record(table) for table in report.tables],
    }


def _table_record(table: LayerTable) -> dict[str, Any]:
    return {
        "batch": table.batch,
        "whole_us": table.whole_us,
        "sum_us": table.sum_us,
        "floor_us": table.floor_us,
        "share": table.share,
        "layers": [{**plain(layer), "share": layer.share} for layer in table.layers],
    }


def _row(layer: Layer) -> tuple[str, ...]:
    figures = (
        f"{layer.us:.1f}",
        f"{layer.flops / 1e9:.2f}",
        f"{layer.bytes / 1e6:.1f}",
        f"{layer.floor_us:.1f}",
    )
    return (layer.node, layer.family, _short(layer.shapes), *figures, f"{layer.share:.0%}", layer.bound)


def _short(shapes: str) -> str:
    """Shapes alone: no operator, no dtypes, no layouts."""
    return re.sub(r"\w+(\[[^\]]*\])(?: [a-z]\w*)?", r"\1", shapes.partition(": ")[2] or shapes)


def _percent(table: LayerTable, us: float) -> str:
    return f"{table.floor_us / us:.0%}" if us > 0 else "–"
