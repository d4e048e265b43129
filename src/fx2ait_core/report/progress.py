"""Progress of long work, on standard error; the stages are the compiler's."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)


class ProgressListener(Protocol):
    """What long work tells: the stage it enters, and how many of the stage's units are done."""

    def stage(self, name: str) -> None: ...
    def units(self, done: int, total: int, label: str) -> None: ...


class SilentProgress:
    """Says nothing."""

    def stage(self, name: str) -> None:
        pass

    def units(self, done: int, total: int, label: str) -> None:
        pass


class TerminalProgress:
    """A context manager that shows stages: on a terminal the present one as a moving line, elsewhere
    (a log file, CI) one line per stage. Every stage that ends leaves a line with its time, which
    ``seconds`` keeps by the stage's name.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, highlight=False)
        self._live = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[label]}"),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self.seconds: dict[str, float] = {}
        self._name = ""
        self._started = 0.0
        self._count = 0
        self._task = self._live.add_task("", total=None, label="", visible=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._finish(failed=kind is not None)
        self._live.stop()

    def stage(self, name: str) -> None:
        """Close the present stage and enter ``name``."""
        self._finish()
        self._name, self._started, self._count = name, time.monotonic(), 0
        self._live.reset(self._task, description=escape(name), total=None, label="", visible=True)

    def units(self, done: int, total: int, label: str) -> None:
        """``done`` of ``total`` units; ``label`` names the present one."""
        self._count = max(self._count, done)
        self._live.update(self._task, completed=done, total=max(total, 1), label=escape(label))

    def _finish(self, failed: bool = False) -> None:
        if not self._name:
            return
        mark = "[red]✗[/]" if failed else "[green]✓[/]"
        count = f" ({self._count})" if self._count else ""
        seconds = time.monotonic() - self._started
        self.seconds[self._name] = self.seconds.get(self._name, 0.0) + seconds
        self.console.print(f"{mark} {escape(self._name)}{count} [dim]{seconds:.1f} s[/]")
        self._name = ""
        self._live.update(self._task, visible=False)
