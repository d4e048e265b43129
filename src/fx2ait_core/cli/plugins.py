"""``fx2ait plugins``: which plugins were found, and what became of each."""

from __future__ import annotations

from rich.console import RenderableType

from ..extend.report import INSTALL_HINT, PluginRow
from ..report.columns import text_cells
from ..report.tables import table
from .command import command
from .installed import installed_plugins
from .options import JsonOption, MachineOptions
from .output import show

_NOUNS = {"passes": ("pass", "passes"), "recipes": ("recipe folder", "recipe folders")}


@command
def plugins(options: MachineOptions, json: JsonOption = False) -> None:
    """List the plugins: loaded, blocked or failed, with distribution, version and cause.

    Examples:

        fx2ait plugins

        fx2ait plugins --no-plugin conv
    """
    found = installed_plugins(options.settings())

    def render() -> list[RenderableType]:
        shown: list[RenderableType] = []
        if found.rows:
            rows = [
                (row.status, row.name, row.distribution, row.version, row.cause or _brought(row))
                for row in found.rows
            ]
            shown.append(table(text_cells(("", "plugin", "distribution", "version", "brings / cause"), rows)))
        if not any(row.status != "ok" or row.contributions.get("converters") for row in found.rows):
            shown.append(INSTALL_HINT)
        return shown

    show(json, [row.as_dict() for row in found.rows], render)


def _brought(row: PluginRow) -> str:
    """What a plugin contributes, e.g. ``9 kernels, 1 operator``."""
    parts = []
    for kind, count in sorted(row.contributions.items()):
        one, many = _NOUNS.get(kind, (kind.removesuffix("s"), kind))
        parts.append(f"{count} {one if count == 1 else many}")
    return ", ".join(parts)
