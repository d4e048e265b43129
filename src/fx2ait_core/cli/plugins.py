"""``fx2ait plugins``: which plugins were found, and what became of each."""

from __future__ import annotations

from rich.console import RenderableType

from ..extend.plugins import load_plugins
from ..report.columns import text_cells
from ..report.tables import table
from .command import command
from .options import JsonOption, MachineOptions
from .output import show


@command
def plugins(options: MachineOptions, json: JsonOption = False) -> None:
    """List the plugins: loaded, blocked or failed, with distribution, version and cause.

    Examples:

        fx2ait plugins

        fx2ait plugins --no-plugin conv
    """
    found = load_plugins(options.settings())

    def render() -> list[RenderableType]:
        shown: list[RenderableType] = []
        if found.rows:
            rows = [(row.status, row.name, row.distribution, row.version, row.cause) for row in found.rows]
            shown.append(table(text_cells(("", "plugin", "distribution", "version", "brings / cause"), rows)))
        if not any(row.status == "ok" for row in found.rows):
            shown.append(found.install_hint)
        return shown

    show(json, found.rows, render)
