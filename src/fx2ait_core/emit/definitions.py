"""What a kernel's file defines beside its launcher, shared by kernels that define the same."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Mapping

_FILE = re.compile(
    r"""\A (?P<head> (?: [ \t]* (?: //[^\n]* | \#[ \t]*include[^\n]* )? \n )* )
        (?P<definitions> ^namespace[ ]\{\n .*? ^\}[ ]*//[ ]*namespace[ ]*\n ) \s*
        (?P<launcher> ^extern[ ]"C"[ ] .* ) \Z""",
    re.MULTILINE | re.DOTALL | re.VERBOSE,
)
_TOP_LEVEL_END = re.compile(r"^\}.*$", re.MULTILINE)


def definitions(text: str) -> str | None:
    """The anonymous namespace of a kernel's file, or None where more than a launcher stands beside it.

    Comments and includes may stand before it, and the launcher alone behind it: then kernels with the same
    includes and equal definitions may have them from one place.
    """
    file = _split(text)
    return file["definitions"] if file else None


def shared(kernels: Mapping[str, str], family: str) -> dict[str, str]:
    """The files of kernels, which include their equal definitions from a header, and that header; by path.

    :param kernels: texts of kernels with equal definitions, by path.
    :param family: how the header's name begins. Its contents give the rest, so that it is the same
        in every tree.
    """
    files: dict[str, str] = {}
    first = next(iter(kernels))
    held = definitions(kernels[first])
    folder, suffix = posixpath.dirname(first), posixpath.splitext(first)[1]
    ending = ".cuh" if suffix == ".cu" else ".h"
    name = re.sub(r"\W", "_", family)
    header = f"shared/{name}_{hashlib.sha256((held or '').encode()).hexdigest()[:8]}{ending}"
    for path, text in kernels.items():
        file = _split(text)
        if file is None or file["definitions"] != held:
            raise ValueError(f"{path} and {first} define other things")
        files[path] = f'{file["head"]}#include "{header}"\n\n{file["launcher"]}'
    files[f"{folder}/{header}"] = f"// What several kernels have in common.\n#pragma once\n\n{held}"
    return files


def _split(text: str) -> re.Match[str] | None:
    file = _FILE.match(text)
    if file is None or len(_TOP_LEVEL_END.findall(file["launcher"])) != 1:
        return None
    return file if file["launcher"].rstrip().endswith("\n}") else None
