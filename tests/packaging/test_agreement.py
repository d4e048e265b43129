"""Folders, the list of requirements, entry points and recipes tell the same story."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from fx2ait_core.extend.report import FIRST_PARTY
from fx2ait_core.recipes.loader import load_recipe

ROOT = Path(__file__).parents[2]
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
PROJECTS = [*PLUGINS, ROOT / "model_zoo"]


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text())


def names(folders: list[Path]) -> list[str]:
    return [folder.relative_to(ROOT).as_posix() for folder in folders]


def test_every_folder_is_a_project_and_in_the_list() -> None:
    folders = sorted(path for path in (ROOT / "plugins").iterdir() if path.is_dir())
    assert folders == PLUGINS
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = [line.removeprefix("-e ") for line in lines if line.startswith("-e ")]
    assert re.fullmatch(r"\.\[[a-z,]+\]", listed[0])
    assert sorted(listed[1:]) == sorted(names(PROJECTS))


def test_the_core_knows_the_first_party_set_by_name_only() -> None:
    assert sorted(FIRST_PARTY) == [folder.name for folder in PLUGINS]


def test_extras_of_the_list_exist() -> None:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    first = next(line for line in lines if line.startswith("-e ."))
    extras = first.partition("[")[2].rstrip("]").split(",")
    assert set(extras) <= set(project(ROOT)["project"]["optional-dependencies"])


@pytest.mark.parametrize("folder", PROJECTS, ids=lambda folder: folder.name)
def test_a_project_is_named_after_its_folder_and_pins_the_core(folder: Path) -> None:
    described = project(folder)["project"]
    assert described["name"] == f"fx2ait-{folder.name.replace('_', '-')}"
    assert described["entry-points"] == {"fx2ait": {folder.name: f"fx2ait_{folder.name}"}}
    assert "fx2ait-core>=0.1,<0.2" in described["dependencies"]
    assert described["requires-python"] == project(ROOT)["project"]["requires-python"]
    assert (folder / "src" / f"fx2ait_{folder.name}" / "__init__.py").is_file()
    readme = (folder / described["readme"]).read_text()
    assert readme.startswith("# ")
    assert list((folder / "tests").glob("test_*.py")), "a plugin has tests of its own"


def test_every_recipe_of_the_zoo_is_named_after_its_file() -> None:
    recipes = sorted((ROOT / "model_zoo" / "src" / "fx2ait_model_zoo" / "recipes").glob("*"))
    assert recipes
    for path in recipes:
        assert path.suffix == ".yaml"
        assert load_recipe(path).name == path.stem


def test_what_make_and_ci_call_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert {"run", "test", "setup", "lint", "types"} <= targets
    assert "make --no-print-directory test" in (ROOT / ".ci" / "run").read_text()
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
