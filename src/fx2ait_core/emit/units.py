"""Kernels that are compiled together, because a compiler spends much of its time on their headers."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise

from .definitions import definitions, shared

MOST = 4
"""Effort in a unit: headers are then about half of its time, and on many processors no unit is so long that
the others wait for it."""

_DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(.*)$", re.MULTILINE)
_INCLUDE = re.compile(r"include\s*[<\"]")
_LOCAL = re.compile(r"(?:include\s*[<\"]|pragma\s+(?:unroll\b|GCC\s+(?:ivdep|unroll)\b))")


@dataclass(frozen=True)
class Member:
    """A kernel that is to be in a unit.

    :param family: what must be equal in a unit.
    :param text: its source.
    :param effort: how much longer than most kernels it takes to compile (see ``KernelSource``).
    """

    family: Hashable
    text: str
    effort: int = 1


def grouped(kernels: Iterable[Member], most: int = MOST) -> list[list[int]]:
    """Positions of kernels by the unit that they share, in order of each one's first.

    Kernels share a unit when their families and the headers that they include are equal. Those with
    equal definitions are always together, since compiling more of them takes hardly longer. A kernel
    with preprocessor directives beyond includes and loop pragmas is left alone, since these would
    outlast its file.

    :param most: effort in one unit, kernels with equal definitions counting once; the units of a
        family are nearly equal, and a kernel that exceeds it has a unit of its own.
    """
    members = list(kernels)
    families: dict[Hashable, dict[Hashable, list[int]]] = {}
    for position, member in enumerate(members):
        key = (member.family, _includes(member.text), member.effort) if can_share(member.text) else position
        families.setdefault(key, {}).setdefault(_likeness(member.text, position), []).append(position)
    units = []
    for alike in families.values():
        sets = list(alike.values())
        effort = members[sets[0][0]].effort
        units += _parts(sets, max(1, most // effort))
    return sorted(units)


def can_share(text: str) -> bool:
    """Whether nothing of a kernel's file outlasts the namespace around it."""
    return all(_LOCAL.match(directive) for directive in _DIRECTIVE.findall(text))


def unit_files(path: str, kernels: Mapping[str, str], family: str) -> dict[str, str]:
    """A unit and the files of its kernels, by path in the tree.

    The unit includes the files of kernels inside namespaces. Their headers come first, so that those
    are outside; launchers have C linkage, so that theirs are the same functions as without a
    namespace. Kernels with equal definitions are in one namespace, and their files include these
    from a header: templates are then instantiated once for all of them.

    :param path: of the unit, in the tree.
    :param kernels: texts of kernels that may share a unit, by path in the tree.
    :param family: what headers of equal definitions are named after.
    """
    alike: dict[Hashable, list[str]] = {}
    for position, (file, text) in enumerate(kernels.items()):
        alike.setdefault(_likeness(text, position), []).append(file)
    files = dict(kernels)
    folder = posixpath.dirname(path) or "."
    lines = ["// Kernels that are compiled together, so that their headers are read once."]
    lines += [f"#{include}" for include in _includes(next(iter(kernels.values())))]
    for number, together in enumerate(alike.values()):
        if len(together) > 1:
            files |= shared({file: kernels[file] for file in together}, family)
        lines += ["", f"namespace kernel_{number} {{"]
        lines += [f'#include "{posixpath.relpath(file, folder)}"' for file in together]
        lines += ["}"]
    return {**files, path: "\n".join(lines) + "\n"}


def _likeness(text: str, position: int) -> Hashable:
    """Equal for kernels with equal definitions; a kernel whose definitions cannot be told is like none."""
    found = definitions(text)
    return position if found is None else found


def _includes(text: str) -> tuple[str, ...]:
    return tuple(d.rstrip() for d in _DIRECTIVE.findall(text) if _INCLUDE.match(d))


def _parts(sets: Sequence[Sequence[int]], most: int) -> list[list[int]]:
    """As few parts as ``most`` sets in each allow, of nearly equal length; positions in order."""
    count = -(-len(sets) // most)
    bounds = [len(sets) * index // count for index in range(count + 1)]
    return [sorted(chain(*sets[start:end])) for start, end in pairwise(bounds)]
