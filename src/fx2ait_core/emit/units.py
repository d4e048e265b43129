"""Kernels that are compiled together, because a compiler spends most of its time on their headers."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

MOST = 8  # kernels in a unit: then headers are a third of its time, and sixteen processors still find work

_DIRECTIVE = re.compile(r"^[ \t]*#[ \t]*(.*)$", re.MULTILINE)
_INCLUDE = re.compile(r"include\s*[<\"]")
_LOCAL = re.compile(r"(?:include\s*[<\"]|pragma\s+(?:unroll\b|GCC\s+(?:ivdep|unroll)\b))")


@dataclass(frozen=True)
class KernelText:
    """A kernel's file: its path in the tree, its text, and the kernel family that made it."""

    path: str
    text: str
    family: str


@dataclass(frozen=True)
class Unit:
    """A source that includes the files of several kernels, each inside a namespace of its own."""

    path: str
    text: str
    members: tuple[str, ...]


def units_of(kernels: Iterable[KernelText], suffix: str, most: int = MOST) -> list[Unit]:
    """Units for the kernels that can share one; all others are compiled alone.

    Kernels share a unit when their families and the headers that they include are equal. A kernel
    with preprocessor directives beyond includes and loop pragmas is left alone, since these would
    outlast its file. Equal kernels give equal units.

    :param suffix: of generated sources.
    :param most: kernels in one unit.
    """
    groups: dict[tuple[str, tuple[str, ...]], list[KernelText]] = {}
    for kernel in sorted(kernels, key=lambda kernel: kernel.path):
        if can_share(kernel.text):
            groups.setdefault((kernel.family, tuple(_includes(kernel.text))), []).append(kernel)
    units = []
    numbers: dict[str, int] = {}
    for (family, includes), members in sorted(groups.items()):
        for part in _parts(members, most):
            if len(part) > 1:
                numbers[family] = numbers.get(family, 0) + 1
                path = f"units/{family}_{numbers[family]}{suffix}"
                units.append(Unit(path, _text(path, includes, part), tuple(k.path for k in part)))
    return units


def can_share(text: str) -> bool:
    """Whether nothing of a kernel's file outlasts the namespace around it."""
    return all(_LOCAL.match(directive) for directive in _DIRECTIVE.findall(text))


def _includes(text: str) -> list[str]:
    return [directive.rstrip() for directive in _DIRECTIVE.findall(text) if _INCLUDE.match(directive)]


def _parts(members: Sequence[KernelText], most: int) -> list[Sequence[KernelText]]:
    """As few parts as ``most`` allows, of nearly equal length."""
    count = -(-len(members) // most)
    bounds = [len(members) * index // count for index in range(count + 1)]
    return [members[start:end] for start, end in zip(bounds, bounds[1:], strict=False)]


def _text(path: str, includes: Iterable[str], members: Sequence[KernelText]) -> str:
    lines = ["// Kernels that are compiled together, so that their headers are read once."]
    lines += [f"#{include}" for include in includes]
    for index, kernel in enumerate(members):
        file = posixpath.relpath(kernel.path, posixpath.dirname(path))
        lines += ["", f"namespace kernel_{index} {{", f'#include "{file}"', "}"]
    return "\n".join(lines) + "\n"
