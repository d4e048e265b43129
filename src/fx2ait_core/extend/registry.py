"""Everything that the loaded plugins bring, looked up by name; each record knows who brought it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Generic, TypeVar

from ..errors import PluginError
from ..ir.operator import Operator
from ..target.backend import Backend
from .contributions import Converter, Kernel, Pass, PointwiseExpression, RecipeFolder
from .discovery import normalized
from .ordering import order_passes

T = TypeVar("T")


@dataclass(frozen=True)
class Contribution(Generic[T]):
    """A record and the distribution that brought it, e.g. ``"fx2ait-conv 0.1.0"``."""

    value: T
    distribution: str
    entry: str = ""


Contributions = Sequence[Contribution[Any]]


class Registry:
    """A read-only view of all contributions.

    A name that two plugins claim raises :class:`~fx2ait_core.errors.PluginError` when it is looked
    up, naming both; whatever does not need that name goes on.

    :param contributions: by kind (``operators``, ``converters``, …), in order of discovery.
    """

    def __init__(self, contributions: dict[str, list[Contribution[Any]]]) -> None:
        self._all = {kind: tuple(records) for kind, records in contributions.items()}

    def _kind(self, kind: str) -> Contributions:
        return self._all.get(kind, ())

    @cached_property
    def _indexed(self) -> dict[str, dict[Hashable, list[Contribution[Any]]]]:
        index: dict[str, dict[Hashable, list[Contribution[Any]]]] = {}
        for kind, key in KEYS.items():
            index[kind] = defaultdict(list)
            for contribution in self._kind(kind):
                index[kind][key(contribution.value)].append(contribution)
        return index

    def _one(self, kind: str, key: Hashable) -> Contribution[Any] | None:
        found = self._indexed[kind].get(key, [])
        if len(found) > 1:
            raise PluginError(conflict_text(kind, key, found))
        return found[0] if found else None

    def _unique(self, kind: str) -> list[Contribution[Any]]:
        """All of a kind, by name; raises where a name is claimed twice."""
        return [contribution for key in self._indexed[kind] if (contribution := self._one(kind, key))]

    @property
    def operators(self) -> dict[str, Contribution[type[Operator]]]:
        """Operator classes by kind, sorted."""
        return {c.value.kind: c for c in sorted(self._unique("operators"), key=lambda c: c.value.kind)}

    def operator(self, kind: str) -> Contribution[type[Operator]] | None:
        return self._one("operators", kind)

    @property
    def overloads(self) -> list[str]:
        """ATen overloads that some converter is for, sorted."""
        return sorted({c.value.overload for c in self._kind("converters")})

    def converters(self, overload: str) -> list[Contribution[Converter]]:
        """Converters for an overload, highest priority first; a tie raises."""
        found = self._by_priority.get(overload, [])
        for first, second in pairwise(found):
            if first.value.priority == second.value.priority:
                raise PluginError(conflict_text("converters", overload, [first, second]))
        return list(found)

    @cached_property
    def _by_priority(self) -> dict[str, list[Contribution[Converter]]]:
        found: dict[str, list[Contribution[Converter]]] = defaultdict(list)
        for contribution in self._kind("converters"):
            found[contribution.value.overload].append(contribution)
        return {name: sorted(group, key=lambda c: -c.value.priority) for name, group in found.items()}

    def expression(self, kind: str, target: str) -> PointwiseExpression | None:
        """The expression of an operator: the one written for the target, else the one for all."""
        for key in ((kind, target), (kind, None)):
            if (found := self._one("expressions", key)) is not None:
                return found.value
        return None

    def kernels(self, kind: str, target: str) -> list[Contribution[Kernel]]:
        """Kernels for an operator on a target, sorted by name."""
        found = [c for c in self._kind("kernels") if (c.value.operator, c.value.target) == (kind, target)]
        for contribution in found:
            self._one("kernels", contribution.value.name)
        return sorted(found, key=lambda c: c.value.name)

    def disabled_kernels(self, kind: str, target: str) -> list[Contribution[Kernel]]:
        """Kernels that settings leave out, in order of discovery."""
        kernels = self._kind("disabled_kernels")
        return [c for c in kernels if (c.value.operator, c.value.target) == (kind, target)]

    @property
    def all_kernels(self) -> list[Contribution[Kernel]]:
        """Every kernel, in order of discovery."""
        return list(self._kind("kernels"))

    @cached_property
    def passes(self) -> list[Contribution[Pass]]:
        """The pipeline: see :func:`~fx2ait_core.extend.ordering.order_passes`."""
        return order_passes(self._unique("passes"))

    @property
    def backends(self) -> list[Contribution[Backend]]:
        """Targets, sorted by name."""
        return sorted(self._unique("targets"), key=lambda c: c.value.name)

    def backend(self, name: str) -> Backend:
        """The target called ``name``; raises :class:`PluginError` listing those there are."""
        found = self._one("targets", name)
        if found is None:
            known = ", ".join(c.value.name for c in self.backends) or "none"
            raise PluginError(f"no plugin brings a target {name!r}; available: {known}")
        return found.value

    @property
    def recipe_folders(self) -> list[Contribution[RecipeFolder]]:
        """Folders of recipes, in order of discovery."""
        return list(self._kind("recipes"))

    @property
    def commands(self) -> list[Contribution[Any]]:
        """``typer.Typer`` applications, sorted by name."""
        return sorted(self._unique("commands"), key=lambda c: str(c.value.info.name))

    def conflicts(self) -> list[tuple[list[Contribution[Any]], str]]:
        """Every name claimed twice: who claims it, and what to do."""
        found = [
            (group, conflict_text(kind, key, group))
            for kind, index in self._indexed.items()
            for key, group in index.items()
            if len(group) > 1
        ]
        for overload, group in self._by_priority.items():
            priorities = [c.value.priority for c in group]
            for priority in sorted({p for p in priorities if priorities.count(p) > 1}):
                tied = [c for c in group if c.value.priority == priority]
                found.append((tied, conflict_text("converters", overload, tied)))
        return found


# What must be unique, by kind. Converters are told apart by priority as well.
KEYS: dict[str, Callable[[Any], Hashable]] = {
    "operators": lambda operator: operator.kind,
    "expressions": lambda expression: (expression.operator.kind, expression.target),
    "kernels": lambda kernel: kernel.name,
    "passes": lambda rewrite: rewrite.name,
    "targets": lambda backend: backend.name,
    "commands": lambda command: command.info.name,
}

_NOUNS = {
    "operators": "operator",
    "converters": "converter with the same priority for",
    "expressions": "expression for",
    "kernels": "kernel",
    "passes": "pass",
    "targets": "target",
    "commands": "command",
}


def conflict_text(kind: str, key: Hashable, claimed: Iterable[Contribution[Any]]) -> str:
    """Who claims one name, and how to choose."""
    owners = [contribution.distribution for contribution in claimed]
    name = " on ".join(str(part or "all targets") for part in key) if isinstance(key, tuple) else str(key)
    if len(set(owners)) == 1:
        return f"{_NOUNS[kind]} {name} is contributed {len(owners)} times by {owners[0]}"
    mend = "give one a higher priority, or " if kind == "converters" else ""
    names = ", ".join(dict.fromkeys(normalized(owner.rsplit(" ", 1)[0]) for owner in owners))
    return (
        f"{_NOUNS[kind]} {name} is contributed by {' and by '.join(dict.fromkeys(owners))}; "
        f"{mend}block one: FX2AIT_DISABLE_PLUGINS takes one of {names}"
    )
