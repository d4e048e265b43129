"""Standard output for results, standard error for the rest."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Any

from rich.console import Console, RenderableType

from ..report.plain import to_json
from ..report.progress import ProgressListener, SilentProgress, TerminalProgress

MINIMUM_WIDTH = 160
"""Columns of a table where the output is no terminal, such as a log file."""


def show(as_json: bool, value: Any, render: Callable[[], list[RenderableType]]) -> None:
    """Print ``value`` as JSON, or what ``render`` makes of it for people."""
    if as_json:
        sys.stdout.write(to_json(value) + "\n")
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, MINIMUM_WIDTH))
    for renderable in render():  # text is not wrapped: it may hold a command to copy
        console.print(renderable, soft_wrap=isinstance(renderable, str))


def complain(message: str) -> None:
    """One message on standard error, unwrapped so that paths and commands can be copied."""
    console = Console(stderr=True, highlight=False)
    console.print("[bold red]error:[/] ", end="")
    console.print(message, markup=False, soft_wrap=True)


@contextmanager
def progress(quiet: bool) -> Iterator[ProgressListener]:
    """Progress on standard error, or silence. What models print meanwhile goes to standard error too, so
    that standard output holds the result alone."""
    with redirect_stdout(sys.stderr):
        if quiet:
            yield SilentProgress()
        else:
            with TerminalProgress() as shown:
                yield shown
