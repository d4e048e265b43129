"""Standard output for results, standard error for the rest."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, RenderableType

from ..errors import Fx2aitWarning, SettingsError
from ..report.plain import to_json
from ..report.progress import ProgressListener, SilentProgress, TerminalProgress

MINIMUM_WIDTH = 160
"""Columns of a table where the output is no terminal, such as a log file."""


def show(as_json: bool, value: Any, render: Callable[[], list[RenderableType]]) -> None:
    """Print ``value`` as JSON, or what ``render`` makes of it for people.

    Raises :class:`~fx2ait_core.errors.SettingsError` when standard output cannot take it.
    """
    try:
        _print(as_json, value, render)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has what it wanted; click ends quietly
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes it again at its end
        raise SettingsError(f"standard output cannot be written: {error.strerror or error}") from error


def _print(as_json: bool, value: Any, render: Callable[[], list[RenderableType]]) -> None:
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
    _tell("[bold red]error:[/] ", message)


def warn(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """In place of :func:`warnings.showwarning`: fx2ait's own are for users, without a place in code."""
    place = "" if issubclass(category, Fx2aitWarning) else f"{filename}:{lineno}: {category.__name__}: "
    _tell("[yellow]warning:[/] ", f"{place}{message}")


def _tell(mark: str, message: str) -> None:
    console = Console(stderr=True, highlight=False)
    console.print(mark, end="")
    console.print(message, markup=False, soft_wrap=True)


def check_writable(path: Path) -> None:
    """Raises :class:`~fx2ait_core.errors.SettingsError` for a file that could not be written."""
    if path.is_dir():
        raise SettingsError(f"{path} is a folder; name a file.")
    if _is_device(path):
        return
    if not path.parent.is_dir():
        raise SettingsError(f"{path} cannot be written: there is no folder {path.parent}.")
    if not os.access(path.parent, os.W_OK):
        raise SettingsError(f"{path} cannot be written: the folder {path.parent} is not writable.")


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A name beside ``path``, with its suffix, that becomes ``path`` at the end; a failure leaves nothing.

    A pipe or a device is written to as it is. Raises :class:`~fx2ait_core.errors.SettingsError` when
    ``path`` cannot be written.
    """
    path = path.resolve()
    partial = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        if _is_device(path):
            yield path
        else:
            yield partial
            partial.replace(path)
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def _is_device(path: Path) -> bool:
    """Whether ``path`` is there and neither file nor folder, as ``/dev/stdout`` may be."""
    return path.exists() and not path.is_file() and not path.is_dir()


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
