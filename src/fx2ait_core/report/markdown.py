"""Tables as Markdown."""

from __future__ import annotations

from .columns import Cells


def markdown(cells: Cells) -> str:
    """``cells`` as a Markdown table with its caption above."""
    rules = ["---" if index in cells.text_columns else "---:" for index in range(len(cells.titles))]
    lines = [_row(cells.titles), "|" + "|".join(rules) + "|", *(_row(row) for row in cells.rows)]
    if cells.caption:
        lines[:0] = [cells.caption, ""]
    return "\n".join(lines) + "\n"


def _row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
