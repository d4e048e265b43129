"""Kernels that are compiled together, because a compiler spends most of its time on their headers."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import pairwise

MOST = 4
"""Kernels in a unit: headers are then about half of its time, and on many processors no unit is so long that
the others wait for it."""

_DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(.*)$", re.MULTILINE)
_INCLUDE = re.compile(r"include\s*[<\"]")
_LOCAL = re.compile(r"(?:include\s*[<\"]|pragma\s+(?:unroll\b|GCC\s+(?:ivdep|unroll)\b))")


def grouped(kernels: Iterable[tuple[Hashable, str]], most: int = MOST) -> list[list[int]]:
    """Positions of kernels by the unit that they share, in order of each one's first.

    Kernels share a unit when their families and the headers that they include are equal. A kernel
    with preprocessor directives beyond includes and loop pragmas is left alone, since these would
    outlast its file.

    :param kernels: for each, what must be equal in a unit, and its text.
    :param most: kernels in one unit; the units of a family are nearly equal in length.
    """
    families: dict[Hashable, list[int]] = {}
    for position, (family, text) in enumerate(kernels):
        key = (family, _includes(text)) if can_share(text) else (position,)
        families.setdefault(key, []).append(position)
    return sorted(part for members in families.values() for part in _parts(members, most))


def can_share(text: str) -> bool:
    """Whether nothing of a kernel's file outlasts the namespace around it."""
    return all(_LOCAL.match(directive) for directive in _DIRECTIVE.findall(text))


def unit_text(kernels: Mapping[str, str], folder: str) -> str:
    """A source that includes the files of kernels, each inside a namespace of its own.

    Their headers come first, so that those are outside; launchers have C linkage, so that theirs
    are the same functions as without a namespace.

    :param kernels: texts that may share a unit, by path in the tree.
    :param folder: the unit's own, in the tree.
    """
    lines = ["// Kernels that are compiled together, so that their headers are read once."]
    lines += [f"#{include}" for include in _includes(next(iter(kernels.values())))]
    for number, path in enumerate(kernels):
        file = posixpath.relpath(path, folder or ".")
        lines += ["", f"namespace kernel_{number} {{", f'#include "{file}"', "}"]
    return "\n".join(lines) + "\n"


def _includes(text: str) -> tuple[str, ...]:
    return tuple(d.rstrip() for d in _DIRECTIVE.findall(text) if _INCLUDE.match(d))


def _parts(members: Sequence[int], most: int) -> list[list[int]]:
    """As few parts as ``most`` allows, of nearly equal length."""
    count = -(-len(members) // most)
    bounds = [len(members) * index // count for index in range(count + 1)]
    return [list(members[start:end]) for start, end in pairwise(bounds)]
