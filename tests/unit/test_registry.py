"""The registry's order of passes, and its built-in targets."""

from __future__ import annotations

from itertools import permutations

import pytest

from fx2ait_core.errors import PluginError
from fx2ait_core.extend.contributions import Pass
from fx2ait_core.extend.manager import load_plugins
from fx2ait_core.extend.ordering import order_passes
from fx2ait_core.extend.registry import Contribution
from fx2ait_core.settings import Settings
from fx2ait_core.target import builtin

CORE = ("clean", "fuse", "layout")


def run(*args: object) -> None:
    """A pass that does nothing."""


def order(*plugin_passes: Pass) -> list[str]:
    core = [Contribution(Pass(name, run), "fx2ait-core 0.1.0") for name in CORE]
    return [
        c.value.name for c in order_passes([*core, *(Contribution(p, "plugin 1.0") for p in plugin_passes)])
    ]


def test_core_passes_keep_their_order() -> None:
    assert order() == list(CORE)


def test_before_comes_as_late_as_it_may() -> None:
    assert order(Pass("fold", run, before=("fuse",))) == ["clean", "fold", "fuse", "layout"]


def test_after_comes_at_once() -> None:
    assert order(Pass("split", run, after=("clean",))) == ["clean", "split", "fuse", "layout"]


def test_unplaced_comes_last() -> None:
    assert order(Pass("any", run)) == [*CORE, "any"]


def test_passes_of_plugins_among_each_other_in_any_listing() -> None:
    passes = [
        Pass("a", run, after=("b",), before=("fuse",)),
        Pass("b", run, before=("fuse",)),
        Pass("c", run, after=("a",)),
    ]
    for listed in permutations(passes):
        assert order(*listed) == ["clean", "b", "a", "c", "fuse", "layout"]


def test_unknown_names_are_ignored() -> None:
    assert order(Pass("fold", run, before=("fuse", "not_installed"), after=("neither",)))[1] == "fold"


def test_a_cycle_names_passes_and_distributions() -> None:
    with pytest.raises(PluginError, match=r"circle: .*fold \(plugin 1\.0\)"):
        order(Pass("fold", run, before=("clean",), after=("layout",)))


def test_builtin_targets_are_registered_like_a_plugin() -> None:
    registry = load_plugins(Settings(), [builtin], path=[]).registry
    assert [c.value.name for c in registry.backends] == ["cpu", "cuda"]
    assert all(c.distribution.startswith("fx2ait-core ") for c in registry.backends)
    assert registry.backend("cpu").source_suffix == ".cpp"
    assert registry.kernels("core.pointwise", "cpu")
    assert set(registry.operators) == {"core.pointwise", "core.relabel"}
    with pytest.raises(PluginError, match="no plugin brings a target 'tpu'; available: cpu, cuda"):
        registry.backend("tpu")
