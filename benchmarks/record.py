"""A record of measurements: a JSON file that is whole at any moment, filled section by section."""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

LAYERS = "-layers"
"""How the names of the records end that hold a benchmark's layers."""


def layers_beside(path: Path) -> Path:
    """Where the layers of the benchmark lie whose record is at ``path``."""
    return path.with_name(f"{path.stem}{LAYERS}.json")


class OtherCommitError(Exception):
    """A record that is to be updated holds figures of another commit."""


class Record:
    """What is written to ``path``. After each section the file is replaced as a whole, so that a crash, or
    a section that fails, costs nothing that was measured before.

    :param keep: begin with what the file holds now.
    """

    def __init__(self, path: Path, keep: bool = False) -> None:
        self.path = path
        self.data: dict[str, Any] = json.loads(path.read_text()) if keep and path.is_file() else {}

    def write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        text = json.dumps(self.data, indent=2) + "\n"
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(self.path)

    def filled_by(self, command: str, commit: str | None) -> None:
        """Note what fills the record from here on.

        Raises :class:`OtherCommitError` where the record holds figures of another commit.
        """
        before = self.data.setdefault("commit", commit)
        if before != commit:
            raise OtherCommitError(
                f"{self.path} is of commit {before}, not {commit}: measure anew, without --update, or "
                "name another folder by --out"
            )
        if self.data.setdefault("command", command) != command:
            later = self.data.setdefault("later_commands", [])
            if command not in later:
                later.append(command)

    def section(self, name: str, work: Callable[[], None]) -> bool:
        """Do ``work``, which adds to ``data``, then write. A failure is recorded under ``failures`` by
        ``name`` and shown; whether it went well."""
        started = time.perf_counter()
        failures = self.data.setdefault("failures", {})
        failures.pop(name, None)
        try:
            work()
        except Exception as error:  # whatever it is, the other sections are to run
            traceback.print_exc()
            failures[name] = f"{type(error).__name__}: {error}"
        self.data.setdefault("seconds", {})[name] = round(time.perf_counter() - started, 1)
        self.write()
        if name in failures:
            print(f"{self.path.stem}: {name} FAILED", file=sys.stderr)
        return name not in failures

    def put_rows(self, key: str, rows: list[dict[str, Any]]) -> None:
        """Add ``rows`` to the list under ``key``, in place of those of the same batches; sorted by batch."""
        batches = {row["batch"] for row in rows}
        kept = [row for row in self.data.get(key, []) if row["batch"] not in batches]
        self.data[key] = sorted([*kept, *rows], key=lambda row: int(row["batch"]))
