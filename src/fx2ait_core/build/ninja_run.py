"""Running ninja over a set of compiler calls, and reading what it says."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import ninja

from ..errors import ToolchainError
from ..settings import Settings, compiler_environment
from .process import Finished, run

_STATUS = re.compile(r"^\[(\d+)/(\d+)\] (.*)$")
_FAILED = re.compile(r"^FAILED: (?:\[code=\d+\] )?(.*)$")


@dataclass(frozen=True)
class Unit:
    """One compiler or linker call.

    :param description: unique; shown as progress.
    :param folder: where the command runs, relative to the build folder.
    :param command: its words, without the output.
    :param inputs: files it needs that other units make, relative to the build folder.
    :param output: the file it makes, relative to the build folder.
    """

    description: str
    folder: str
    command: tuple[str, ...]
    inputs: tuple[str, ...]
    output: str

    def shell(self, output: str) -> str:
        return shlex.join([*self.command, "-o", output])


@dataclass(frozen=True)
class Failure:
    """A unit that failed, with what the compiler printed."""

    unit: Unit
    output: str


def find_ninja(settings: Settings) -> Path:
    """The PyPI package's ninja, else one on the search path; raises ``ToolchainError``."""
    packaged = Path(ninja.BIN_DIR) / "ninja"
    if packaged.is_file():
        return packaged
    if found := shutil.which("ninja", path=settings.search_path):
        return Path(found)
    raise ToolchainError("ninja is not installed; run `pip install ninja`.")


def run_units(
    units: Sequence[Unit],
    folder: Path,
    settings: Settings,
    on_end: Callable[[Unit, int, int], None],
    keep_going: bool,
) -> tuple[list[Failure], Finished]:
    """Run ``units`` in ``folder``, ``settings.jobs`` at a time, each after those that make its inputs.

    An output appears under its name only when its unit has succeeded.

    :param on_end: ``on_end(unit, ended, all)`` after each unit, failed ones too.
    :param keep_going: run all that can be run after a failure.
    """
    _write(units, folder / "build.ninja")
    by_description = {unit.description: unit for unit in units}

    def read(line: str) -> None:
        status = _STATUS.match(line)
        if status and status.group(3) in by_description:
            on_end(by_description[status.group(3)], int(status.group(1)), int(status.group(2)))

    environment = compiler_environment() | {"NINJA_STATUS": "[%f/%t] ", "TERM": "dumb"}
    command: list[str | Path] = [find_ninja(settings), "-C", folder, "-j", str(settings.jobs)]
    command += ["-k", "0" if keep_going else "1"]
    finished = run(command, environment=environment, on_line=read)
    return _failures(finished.output, units), finished


def _write(units: Sequence[Unit], path: Path) -> None:
    lines = ["rule call", "  command = $call", "  description = $label", ""]
    for unit in units:
        output = "../" * len(Path(unit.folder).parts) + unit.output
        partial = f"{output}.partial"
        call = f"cd {unit.folder} && {unit.shell(partial)} && mv {partial} {output}"
        lines.append(f"build {unit.output}: call {' '.join(unit.inputs)}".rstrip())
        lines.append(f"  call = {call.replace('$', '$$')}")
        lines += [f"  label = {unit.description.replace('$', '$$')}", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _failures(output: str, units: Sequence[Unit]) -> list[Failure]:
    by_output = {unit.output: unit for unit in units}
    failures: list[Failure] = []
    current: tuple[Unit, list[str]] | None = None
    for line in [*output.splitlines(), "ninja: end"]:
        failed = _FAILED.match(line)
        if failed or _STATUS.match(line) or line.startswith("ninja: "):
            if current is not None:  # its first line repeats the command
                failures.append(Failure(current[0], "\n".join(current[1][1:])))
            unit = by_output.get(failed.group(1).strip()) if failed else None
            current = (unit, []) if unit is not None else None
        elif current is not None:
            current[1].append(line)
    return failures
