"""Each plugin's README names the overloads and kernels that it brings, and no others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from fx2ait_core.extend.manager import load_plugins
from fx2ait_core.extend.registry import Contribution, Registry
from fx2ait_core.extend.report import FIRST_PARTY
from fx2ait_core.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins(Settings()).registry


def readme(name: str) -> str:
    return (ROOT / "plugins" / name / "README.md").read_text(encoding="utf-8")


def brought_by(name: str, contributions: list[Contribution[Any]]) -> list[Any]:
    return [contribution.value for contribution in contributions if contribution.entry == name]


def is_in_place(overload: str) -> bool:
    return overload.split(".")[1].endswith("_")


@pytest.mark.parametrize("name", FIRST_PARTY)
def test_overloads(name: str, registry: Registry) -> None:
    offers = [offer for overload in registry.overloads for offer in registry.converters(overload)]
    brought = {converter.overload for converter in brought_by(name, offers)}
    named = set(re.findall(r"`(aten\.[\w.]+)`", readme(name)))
    assert {overload for overload in brought if not is_in_place(overload)} <= named
    assert named <= brought


@pytest.mark.parametrize("name", FIRST_PARTY)
def test_kernels(name: str, registry: Registry) -> None:
    kernels = {kernel.name for kernel in brought_by(name, registry.all_kernels)}
    if name == "pooling":
        assert "Each has a kernel for cpu and for cuda" in readme(name)
        operators = {kernel.operator for kernel in brought_by(name, registry.all_kernels)}
        assert kernels == {
            f"{kind.split('.')[1]}_{target}" for kind in operators for target in ("cpu", "cuda")
        }
    else:
        assert {kernel for kernel in kernels if f"`{kernel}`" not in readme(name)} == set()
