"""Step one, find: the entry points of all installed distributions, sorted; nothing is imported."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from .specs import ENTRY_POINT_GROUP

CORE = "fx2ait-core"


@dataclass(frozen=True, order=True)
class FoundPlugin:
    """An entry point before it is imported.

    ``core_requirement`` is the range of core versions that its distribution asks for, or "".
    """

    distribution: str
    version: str
    entry: str
    reference: str
    core_requirement: str = ""

    @property
    def label(self) -> str:
        return f"{self.distribution} {self.version}"

    def load(self) -> Any:
        """Import what the entry point refers to; any exception of the import goes through."""
        return metadata.EntryPoint(self.entry, self.reference, ENTRY_POINT_GROUP).load()


def normalized(name: str) -> str:
    """A distribution's name as the packaging rules compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def core_version() -> str:
    try:
        return metadata.version(CORE)
    except metadata.PackageNotFoundError:
        return ""


def find_plugins(path: Sequence[str] | None = None) -> list[FoundPlugin]:
    """All entry points of the group ``fx2ait``, by distribution and name.

    A distribution that lies on the path twice counts once, as for Python's own imports.

    :param path: folders to search in place of ``sys.path``.
    """
    distributions = metadata.distributions() if path is None else metadata.distributions(path=list(path))
    found: dict[str, list[FoundPlugin]] = {}
    for distribution in distributions:
        name = distribution.metadata["Name"]
        if not name or normalized(name) in found:
            continue
        found[normalized(name)] = [
            FoundPlugin(name, distribution.version, point.name, point.value, _core_requirement(distribution))
            for point in distribution.entry_points
            if point.group == ENTRY_POINT_GROUP
        ]
    return sorted(plugin for plugins in found.values() for plugin in plugins)


def _core_requirement(distribution: metadata.Distribution) -> str:
    for text in distribution.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:
            continue
        if normalized(requirement.name) == CORE and (not requirement.marker or requirement.marker.evaluate()):
            return str(requirement.specifier)
    return ""
