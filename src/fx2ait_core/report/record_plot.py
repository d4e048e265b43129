"""Plots of records in ``benchmarks/results``: latency beside rivals, and layers beside their floors."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .columns import RIVAL_TITLES
from .plot import new_figure, save_figure

_ENGINE = "fx2ait"
_WIDTH, _HEIGHT, _PER_LAYER = 10.0, 4.5, 0.24
_LONGEST_LABEL = 46


def plot_record(
    record: Mapping[str, Any], layers: Mapping[str, Any] | None, path: Path, batch: int | None = None
) -> None:
    """Write ``path`` (.png, .svg or .pdf) from a benchmark's record and, where given, that of its layers.

    On the left the latency of each path, the engine's being 1, by batch size; on the right the time of each
    launch at ``batch`` (by default the largest measured) with the part that it could not do without.

    Raises :class:`~fx2ait_core.errors.MissingDependencyError` without matplotlib, and ``ValueError`` for a
    record without what is plotted.
    """
    rows = record.get("rows", [])
    if not any(row["path"] == _ENGINE for row in rows):
        raise ValueError("the record has no rows of the engine")
    table = _table(layers, batch) if layers is not None else None
    count = len(table["layers"]) if table else 0
    figure = new_figure(_WIDTH if table else _WIDTH * 0.6, max(_HEIGHT, 1.2 + _PER_LAYER * count))
    if table:
        left, right = figure.subplots(1, 2, width_ratios=(2, 3))
        _layers_beside_floors(right, table)
    else:
        left = figure.subplots()
    _relative_latency(left, rows)
    card = record.get("card", "")
    figure.suptitle(f"{record.get('model', '')}, {record.get('precision', '')}, {card}", fontsize=10)
    save_figure(figure, path)


def _table(layers: Mapping[str, Any], batch: int | None) -> Mapping[str, Any]:
    tables = {at["batch"]: at for at in layers.get("batches", [])}
    if not tables:
        raise ValueError("the record of layers has no batches")
    if batch is not None and batch not in tables:
        raise ValueError(f"the record of layers has no batch {batch}, but {', '.join(map(str, tables))}")
    return tables[max(tables) if batch is None else batch]


def _relative_latency(axes: Any, rows: list[Mapping[str, Any]]) -> None:
    ours = {row["batch"]: row["ms_median"] for row in rows if row["path"] == _ENGINE}
    for path in dict.fromkeys(row["path"] for row in rows):
        points = [
            (row["batch"], row["ms_median"] / ours[row["batch"]])
            for row in rows
            if row["path"] == path and row["batch"] in ours
        ]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                marker="o",
                linewidth=2.5 if path == _ENGINE else 1.2,
                label=RIVAL_TITLES.get(path, path),
            )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(list(ours), [str(size) for size in ours])
    ticks = [tick for tick in (0.5, 1, 1.5, 2, 3, 5, 10, 20, 50) if axes.get_ylim()[1] >= tick]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel("batch")
    axes.set_ylabel("latency, fx2ait = 1")
    axes.grid(True, alpha=0.3)
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.1)}  # lines may cross all of the plot
    axes.legend(fontsize=7, ncols=2, **below)


def _layers_beside_floors(axes: Any, table: Mapping[str, Any]) -> None:
    layers = table["layers"]
    places = range(len(layers))
    axes.barh(places, [layer["us"] for layer in layers], color="#c6d4e6", label="measured")
    axes.barh(places, [layer["floor_us"] for layer in layers], height=0.45, color="#1f5a9e", label="floor")
    for place, layer in zip(places, layers, strict=True):
        furthest = max(layer["us"], layer["floor_us"])
        axes.annotate(
            f"{layer['share']:.0%}",
            (furthest, place),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    labels = [textwrap.shorten(layer["node"], _LONGEST_LABEL, placeholder=" …") for layer in layers]
    axes.set_yticks(list(places), labels, fontsize=6)
    axes.invert_yaxis()
    axes.set_xlabel("µs")
    axes.set_title(
        f"batch {table['batch']}: {table['share']:.0%} of the roofline in {table['whole_us']:.0f} µs",
        fontsize=9,
    )
    axes.margins(x=0.1)
    axes.legend(fontsize=7, loc="lower right")
