"""``fx2ait inspect``: what is in an engine file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.table import Table

from ..report.columns import byte_count, text_cells
from ..report.tables import table
from .command import command
from .options import JsonOption
from .output import show


@command
def inspect(
    engine: Annotated[Path, typer.Argument(metavar="ENGINE", help="A saved engine, FILE.fx2ait.")],
    sources: Annotated[
        Path | None, typer.Option("--sources", metavar="DIR", help="Write the sources kept in it to DIR.")
    ] = None,
    launches: Annotated[bool, typer.Option("--launches", help="List every launch too.")] = False,
    json: JsonOption = False,
) -> None:
    """Show an engine's inputs, outputs, plugins, kernels and memory. Loads and runs nothing of it.

    Examples:

        fx2ait inspect resnet18.fx2ait

        fx2ait inspect resnet18.fx2ait --sources resnet18-sources
    """
    from ..runtime.artifact import extract_sources  # noqa: PLC0415  # imports torch
    from ..runtime.artifact import inspect as read  # noqa: PLC0415

    manifest = read(engine)
    written = extract_sources(engine, sources) if sources is not None else None

    def render() -> list[RenderableType]:
        shown = _tables(manifest["engine"], engine, launches)
        if written == 0:
            shown.append("No sources are kept in this engine; compile it with FX2AIT_KEEP_SOURCES=1.")
        elif written:
            shown.append(f"{written} source files written to {sources}.")
        return shown

    show(json, manifest, render)


def _tables(engine: Mapping[str, Any], path: Path, launches: bool) -> list[RenderableType]:
    target = engine["target"]
    facts = [
        ("target", " ".join(str(target.get(key, "")) for key in ("name", "arch", "device")).strip()),
        ("precision", engine.get("precision")),
        ("dynamic", ", ".join(f"{n} {r['min']}..{r['max']}" for n, r in engine["symbols"].items()) or None),
        ("file", byte_count(path.stat().st_size)),
        ("plugins", ", ".join(f"{name} {version}" for name, version in engine["plugins"].items()) or None),
    ]
    ports = [
        (role, port["name"], f"[{', '.join(map(str, port['shape']))}]", port["dtype"])
        for role, key in (("input", "inputs"), ("output", "outputs"))
        for port in engine[key]
    ]
    shown: list[RenderableType] = [
        table(text_cells(("", ""), facts), title=str(engine["name"])),
        table(text_cells(("", "name", "shape", "dtype"), ports)),
    ]
    kernels, buckets = engine["plan"]["kernels"], engine["plan"]["buckets"]
    uses = [
        (_sizes(bucket), Counter(launch["kernel"] for launch in bucket["launches"])) for bucket in buckets
    ]
    titles = ("function", "kernel", "configuration", "choice", "launches")
    used = [
        (
            k["name"],
            f"{k['kernel']} of {k['distribution']}",
            k["config"],
            k["choice"],
            "\n".join(f"{counts[k['name']]} for {sizes}" for sizes, counts in uses if counts[k["name"]]),
        )
        for k in kernels
    ]
    shown.append(table(text_cells(titles, used)))
    shown.append(_memory(engine["memory"]))
    for bucket in buckets if launches else []:
        steps = [
            (number, launch["node"], launch["kernel"], launch["description"])
            for number, launch in enumerate(bucket["launches"])
        ]
        shown.append(table(text_cells(("", "node", "function", "computes"), steps), title=_sizes(bucket)))
    return shown


def _memory(memory: Mapping[str, Any]) -> Table:
    """Bytes of each bucket's activations, beside the sum without reuse and the lower bound."""
    rows = [
        (_sizes(bucket), *(byte_count(bucket[key]) for key in ("arena", "lower_bound", "sum_of_activations")))
        for bucket in memory["buckets"]
    ]
    made = text_cells(("activations", "planned", "lower bound", "without reuse"), rows)
    caption = f"allocated: {byte_count(memory['arena'])} and {byte_count(memory['constants'])} of weights"
    return table(replace(made, caption=caption, text_columns=frozenset({0})))


def _sizes(bucket: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} up to {size}" for name, size in bucket["sizes"].items()) or "fixed sizes"
