"""The order of passes: the core's as listed, the plugins' where ``before`` and ``after`` put them."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from typing import TYPE_CHECKING

from ..errors import PluginError
from .contributions import Pass
from .discovery import CORE

if TYPE_CHECKING:
    from .registry import Contribution


def order_passes(passes: Sequence[Contribution[Pass]]) -> list[Contribution[Pass]]:
    """All passes in order of execution.

    The core's passes keep the order in which they are given. A plugin's pass with ``after``
    comes as soon as all of those have run; one with only ``before`` comes as late as it may; one
    with neither comes last. Among equals the name decides. Names that no installed plugin brings
    are ignored, so that a pass may be placed relative to one that is not always there.

    Raises :class:`~fx2ait_core.errors.PluginError` for a cycle, naming its passes and who brings
    them.
    """
    by_name = {contribution.value.name: contribution for contribution in passes}
    pipeline = [c.value.name for c in passes if c.distribution.split(" ")[0] == CORE]
    earlier: dict[str, set[str]] = {name: set() for name in by_name}
    for name, contribution in by_name.items():
        earlier[name].update(set(contribution.value.after) & by_name.keys())
        for later in set(contribution.value.before) & by_name.keys():
            earlier[later].add(name)
    for first, second in pairwise(pipeline):
        earlier[second].add(first)

    def urgency(name: str) -> tuple[int, int, str]:
        contribution = by_name[name].value
        if name in pipeline:
            return 1, 0, name
        if set(contribution.after) & by_name.keys():
            return 0, 0, name
        followers = [pipeline.index(later) for later in contribution.before if later in pipeline]
        if set(contribution.before) & by_name.keys():
            return 2, min(followers, default=len(pipeline)), name
        return 3, 0, name

    sorter = TopologicalSorter(earlier)
    try:
        sorter.prepare()
    except CycleError as error:
        cycle = " -> ".join(f"{name} ({by_name[name].distribution})" for name in error.args[1])
        raise PluginError(f"passes must run before one another in a circle: {cycle}") from error
    ordered: list[str] = []
    ready: list[str] = []
    while sorter.is_active():
        ready += sorter.get_ready()
        following = min(ready, key=urgency)
        ready.remove(following)
        ordered.append(following)
        sorter.done(following)
    return [by_name[name] for name in ordered]
