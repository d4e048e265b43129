"""How much of the time this process waited for a processor that others held.

A busy machine does not slow all paths alike: PyTorch's threads meet at barriers and suffer many times
more from a missing processor than an engine's do. A ratio measured there says little.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

ACCEPTED = 0.05
"""Above this share of waiting, ratios between paths are not to be trusted."""


class ContentionMeter:
    """From the kernel's account of each thread: time on a processor, and time ready but waiting for one.

    Threads that end between two readings are left out. Where the kernel keeps no account (not on Linux,
    or switched off) :attr:`share` is None.
    """

    def __init__(self, tasks: Path = Path("/proc/self/task")) -> None:
        self._tasks = tasks
        self._before = self._read()

    def start(self) -> Self:
        """Begin anew."""
        self._before = self._read()
        return self

    @property
    def share(self) -> float | None:
        """Waiting, as a share of running and waiting, since the start: 0 on a quiet machine."""
        ran = waited = 0
        for thread, (run, wait) in self._read().items():
            run_before, wait_before = self._before.get(thread, (0, 0))
            ran, waited = ran + run - run_before, waited + wait - wait_before
        return waited / (ran + waited) if ran + waited > 0 else None

    def _read(self) -> dict[str, tuple[int, int]]:
        found = {}
        try:
            for task in self._tasks.iterdir():
                run, wait = (task / "schedstat").read_text().split()[:2]
                found[task.name] = int(run), int(wait)
        except (OSError, ValueError):  # a thread has just ended, or there is no such account
            pass
        return found
