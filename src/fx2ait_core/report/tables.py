"""Tables for the terminal."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from .columns import Cells


def table(cells: Cells, title: str = "") -> Table:
    """``cells`` as a table: numbers to the right, text to the left and folded where it is long."""
    made = Table(
        title=escape(title) or None,
        caption=escape(cells.caption) or None,
        title_justify="left",
        caption_justify="left",
        header_style="bold",
    )
    for index, name in enumerate(cells.titles):
        made.add_column(
            escape(name), justify="left" if index in cells.text_columns else "right", overflow="fold"
        )
    for row in cells.rows:
        made.add_row(*map(escape, row))
    return made
