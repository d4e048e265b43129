"""Find, load, report: the plugins of this installation as rows and as one registry."""

from __future__ import annotations

import difflib
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import Fx2aitWarning, PluginError
from ..settings import Settings
from .discovery import CORE, FoundPlugin, core_version, find_plugins, normalized
from .loading import LoadedPlugin, load_plugin
from .registry import Contribution, Registry
from .report import INSTALL_HINT, PluginRow, Status, describe_problems

_BLOCKED = "named in FX2AIT_DISABLE_PLUGINS or by --no-plugin (the setting disabled_plugins)"


@dataclass(frozen=True)
class PluginSet:
    """Rows in order of discovery (built-in ones are not listed), and what the good ones bring."""

    rows: tuple[PluginRow, ...]
    registry: Registry

    @property
    def versions(self) -> tuple[tuple[str, str], ...]:
        """(distribution, version) of each plugin in use, for the manifest of an engine."""
        used = {(row.distribution, row.version) for row in self.rows if row.contributions}
        return tuple(sorted(used))

    @property
    def packages(self) -> tuple[str, ...]:
        """Importable top-level packages of the plugins in use."""
        references = [row.reference for row in self.rows if row.contributions]
        return tuple(sorted({reference.partition(":")[0].partition(".")[0] for reference in references}))

    @property
    def install_hint(self) -> str:
        """How to get plugins where there are none, else why some are not in use; empty when all are."""
        return describe_problems(self.rows) if self.rows else INSTALL_HINT


def load_plugins(
    settings: Settings, builtin: Iterable[Any] = (), *, path: Sequence[str] | None = None
) -> PluginSet:
    """All plugins, each loaded in isolation.

    :param settings: ``disabled_plugins`` names entry points or distributions to leave out,
        ``disabled_kernels`` kernels.
    :param builtin: modules or objects with hooks that the core itself brings; a fault in one of
        these is a bug and raises.
    :param path: folders to search for distributions in place of ``sys.path``.

    Raises :class:`~fx2ait_core.errors.PluginError` for a disabled kernel that no plugin brings.
    """
    contributions: dict[str, list[Contribution[Any]]] = defaultdict(list)
    for module in builtin:
        own = FoundPlugin(CORE, core_version(), "builtin", getattr(module, "__name__", repr(module)))
        _collect(load_plugin(own, module), contributions)

    rows = []
    found = find_plugins(path)
    entries = _claimed_entries(found, settings)
    for plugin in found:
        row = PluginRow(plugin.entry, plugin.distribution, plugin.version, plugin.reference, "ok")
        if _is_blocked(plugin, settings):
            rows.append(replace(row, status="blocked", cause=_BLOCKED))
        elif len(claims := entries[plugin.entry]) > 1:
            rows.append(replace(row, status="conflict", cause=_same_entry(plugin, claims)))
        else:
            rows.append(_loaded_row(row, plugin, contributions))
    _warn_of_unknown(settings.disabled_plugins, found)
    _leave_out_kernels(contributions, settings.disabled_kernels)
    registry = Registry(contributions)
    return PluginSet(tuple(_with_conflicts(rows, registry)), registry)


def _warn_of_unknown(disabled: Sequence[str], found: Sequence[FoundPlugin]) -> None:
    """A name that blocks nothing is no error, since the setting may be meant for several installations."""
    names = sorted({normalized(name) for plugin in found for name in (plugin.entry, plugin.distribution)})
    for name in disabled:
        if normalized(name) not in names:
            near = difflib.get_close_matches(normalized(name), names, n=1)
            mend = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none'}"
            text = f"disabled_plugins: no plugin is called {name!r}, so that none is left out; {mend}"
            warnings.warn(text, Fx2aitWarning, stacklevel=3)


def _leave_out_kernels(contributions: dict[str, list[Contribution[Any]]], disabled: Sequence[str]) -> None:
    brought = contributions["kernels"]
    names = sorted({contribution.value.name for contribution in brought})
    for name in disabled:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            mend = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names) or 'none'}"
            raise PluginError(f"disabled_kernels: no plugin brings a kernel {name!r}; {mend}")
    contributions["kernels"] = [c for c in brought if c.value.name not in disabled]
    contributions["disabled_kernels"] = [c for c in brought if c.value.name in disabled]


def _is_blocked(plugin: FoundPlugin, settings: Settings) -> bool:
    blocked = {normalized(name) for name in settings.disabled_plugins}
    return bool(blocked & {normalized(plugin.entry), normalized(plugin.distribution)})


def _claimed_entries(found: Iterable[FoundPlugin], settings: Settings) -> dict[str, list[FoundPlugin]]:
    claims: dict[str, list[FoundPlugin]] = defaultdict(list)
    for plugin in found:
        if not _is_blocked(plugin, settings):
            claims[plugin.entry].append(plugin)
    return claims


def _same_entry(plugin: FoundPlugin, claims: Sequence[FoundPlugin]) -> str:
    labels = " and ".join(claim.label for claim in claims)
    names = " or ".join(dict.fromkeys(normalized(claim.distribution) for claim in claims))
    return (
        f"the entry point {plugin.entry!r} is claimed by {labels}, so neither is loaded; uninstall one, "
        f"or block one by its distribution's name: FX2AIT_DISABLE_PLUGINS takes {names}"
    )


def _loaded_row(
    row: PluginRow, plugin: FoundPlugin, contributions: dict[str, list[Contribution[Any]]]
) -> PluginRow:
    try:
        loaded = load_plugin(plugin)
    except PluginError as error:
        return replace(row, status="failed", cause=str(error))
    _collect(loaded, contributions)
    counts = Counter({kind: len(records) for kind, records in loaded.records.items() if records})
    return replace(row, contributions=dict(counts), import_seconds=loaded.seconds)


def _collect(loaded: LoadedPlugin, contributions: dict[str, list[Contribution[Any]]]) -> None:
    plugin = loaded.plugin
    for kind, values in loaded.records.items():
        contributions[kind] += [Contribution(value, plugin.label, plugin.entry) for value in values]


def _with_conflicts(rows: Iterable[PluginRow], registry: Registry) -> Iterable[PluginRow]:
    """Rows of plugins that claim the same name say so; the rest of what they bring stays in use."""
    causes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for claimed, text in registry.conflicts():
        for key in {(contribution.distribution, contribution.entry) for contribution in claimed}:
            causes[key].append(text)
    for row in rows:
        conflict: Status = "conflict"
        mine = causes.get((f"{row.distribution} {row.version}", row.name), [])
        yield replace(row, status=conflict, cause="; ".join(mine)) if mine and row.status == "ok" else row
