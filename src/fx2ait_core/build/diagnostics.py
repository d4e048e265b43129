"""Turning what compilers print into an error that a person can act on."""

from __future__ import annotations

import re

from ..errors import BuildError

_AT_FAULT = re.compile(
    r"\b(fatal )?error\b|undefined reference|multiple definition|cannot find|Killed", re.IGNORECASE
)
_FULL_DISK = re.compile(
    r"No space left on device|Disk quota exceeded|file system full|File too large|File size limit exceeded",
    re.IGNORECASE,
)
_OUT_OF_MEMORY = re.compile(
    r"\bKilled\b|out of memory|Cannot allocate memory|terminated signal", re.IGNORECASE
)


def is_full_disk(output: str) -> bool:
    return bool(_FULL_DISK.search(output))


def first_errors(output: str, errors: int = 5, context: int = 3) -> str:
    """The first errors in a compiler's output, each with the lines after it; all of it when it is short."""
    lines = [line for line in output.splitlines() if line.strip()]
    if len(lines) <= 4 * errors:
        return "\n".join(lines)
    faults = [index for index, line in enumerate(lines) if _AT_FAULT.search(line)]
    if not faults:
        return "\n".join(["…", *lines[-4 * errors :]])
    kept: list[int] = []
    for index in faults[:errors]:
        kept += [i for i in range(index, min(index + context + 1, len(lines))) if i not in kept]
    text = "\n".join(lines[index] for index in sorted(kept))
    left = len(faults) - min(errors, len(faults))
    return f"{text}\n… and {left} more lines with errors" if left else text


def build_error(unit: str, source: str, command: str, output: str, cache: str) -> BuildError:
    """The error for a failed compiler or linker call.

    :param unit: the file that was being compiled, relative to its tree.
    :param source: where the failing source lies now.
    :param command: exactly as it was run.
    :param cache: the cache's folder, named when the disk is full.
    """
    if is_full_disk(output):
        return BuildError(
            f"The disk is full while {unit} is compiled. Free some space in {cache} or in the folder for "
            "temporary files, or set FX2AIT_CACHE_DIR to a folder on another disk. The cache is intact; "
            f"run again.\n{first_errors(output, errors=2)}"
        )
    advice = ""
    if _OUT_OF_MEMORY.search(output):
        advice = "\nThe compiler was ended from outside, most often for want of memory: try FX2AIT_JOBS=1."
    return BuildError(
        f"Compiling {unit} failed.\n{first_errors(output)}{advice}\ncommand: {command}\nsource: {source}"
    )
