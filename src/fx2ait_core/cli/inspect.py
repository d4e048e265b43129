"""``fx2ait inspect``: what is in an engine file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

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
        ("dynamic", ", ".join(f"{name} {_range(r)}" for name, r in engine.get("symbols", {}).items()) or None),
        ("file", byte_count(path.stat().st_size)),
        ("plugins", ", ".join(f"{name} {version}" for name, version in _plugins(engine)) or None),
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
    plan = engine.get("plan", {})
    buckets = plan.get("buckets", [])
    if kernels := plan.get("kernels", []):
        uses = Counter(launch["kernel"] for bucket in buckets[-1:] for launch in bucket.get("launches", []))
        rows = [
            (k["name"], k["kernel"], k.get("distribution"), k.get("config"), k.get("choice"), uses[k["name"]])
            for k in kernels
        ]
        titles = ("function", "kernel", "from", "configuration", "choice", "launches")
        shown.append(table(text_cells(titles, rows)))
    if memory := engine.get("memory"):
        rows = [
            (key.replace("_", " "), byte_count(int(count)))
            for key, count in memory.items()
            if isinstance(count, int)
        ]
        shown.append(table(text_cells(("memory", ""), rows)))
    if launches:
        for bucket in buckets:
            rows = [
                (str(number), launch.get("node"), launch["kernel"], launch.get("description"))
                for number, launch in enumerate(bucket.get("launches", []))
            ]
            sizes = bucket.get("sizes", {})
            title = ", ".join(f"{name} up to {size}" for name, size in dict(sizes).items())
            shown.append(table(text_cells(("", "node", "function", "computes"), rows), title=title))
    return shown


def _plugins(engine: Mapping[str, Any]) -> list[tuple[str, str]]:
    return sorted(dict(engine.get("plugins", {})).items())


def _range(bounds: Any) -> str:
    low, high = (bounds["min"], bounds["max"]) if isinstance(bounds, Mapping) else bounds
    return f"{low}..{high}"
