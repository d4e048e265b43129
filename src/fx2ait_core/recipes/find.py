"""Finds a recipe by its zoo name or by its path."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..errors import RecipeError
from ..extend.contributions import RecipeFolder
from ..extend.report import RECIPES_HINT

SUFFIXES = (".yaml", ".yml")


class AttributedFolder(Protocol):
    """A folder with the distribution that brought it, as the registry holds it."""

    @property
    def value(self) -> RecipeFolder: ...
    @property
    def distribution(self) -> str: ...


@dataclass(frozen=True, order=True)
class RecipeFile:
    """A recipe that a plugin brought; its name is the file's stem."""

    name: str
    path: Path
    distribution: str


def available_recipes(folders: Iterable[AttributedFolder]) -> list[RecipeFile]:
    """All recipes in ``folders``, sorted by name.

    Raises :class:`~fx2ait_core.errors.RecipeError` for a folder that is missing, and for a name
    that two distributions use (both are named).
    """
    found: dict[str, RecipeFile] = {}
    for folder in folders:
        path = folder.value.path
        if not path.is_dir():
            raise RecipeError(f"{folder.distribution}: its recipe folder {path} does not exist; reinstall it")
        for file in sorted(path.iterdir()):
            if file.suffix not in SUFFIXES:
                continue
            recipe = RecipeFile(file.stem, file, folder.distribution)
            if (other := found.setdefault(recipe.name, recipe)) is not recipe:
                raise RecipeError(
                    f"the recipe {recipe.name} comes from {other.distribution} ({other.path}) and from "
                    f"{recipe.distribution} ({recipe.path}); give a path, or block one with --no-plugin"
                )
    return sorted(found.values())


def find_recipe(name: str, folders: Iterable[AttributedFolder]) -> Path:
    """The file of the recipe ``name``: a path (it holds a separator or ends in .yaml), or a zoo name.

    Raises :class:`~fx2ait_core.errors.RecipeError` that lists near names.
    """
    path = Path(name).expanduser()
    if path.suffix in SUFFIXES or len(path.parts) > 1:
        if not path.is_file():
            raise RecipeError(f"{name}: no such recipe file")
        return path
    recipes = {recipe.name: recipe.path for recipe in available_recipes(folders)}
    if name in recipes:
        return recipes[name]
    if not recipes:
        raise RecipeError(f"no recipe called {name}. {RECIPES_HINT}")
    near = difflib.get_close_matches(name, sorted(recipes), n=3, cutoff=0.4)
    known = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(recipes))}"
    raise RecipeError(f"no recipe called {name}: {known} (`fx2ait recipes` lists all; a path works too)")
