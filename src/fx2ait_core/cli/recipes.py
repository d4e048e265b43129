"""``fx2ait recipes``: what can be run by name, and the schema of a recipe."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import RenderableType

from ..extend.report import RECIPES_HINT
from ..recipes.find import available_recipes
from ..recipes.loader import load_recipe
from ..recipes.schema import json_schema
from ..report.columns import text_cells
from ..report.tables import table
from .command import command
from .installed import installed_plugins
from .options import JsonOption, MachineOptions
from .output import show


@command
def recipes(
    options: MachineOptions,
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of a recipe file, for editors.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """List the recipes that plugins bring.

    Examples:

        fx2ait recipes

        fx2ait recipes --schema > recipe.schema.json
    """
    if schema:
        show(True, json_schema(), list)
        return
    found = available_recipes(installed_plugins(options.settings()).registry.recipe_folders)
    described = [(item, load_recipe(item.path)) for item in found]
    value = [
        {
            "name": item.name,
            "description": recipe.description,
            "model": recipe.model,
            "path": item.path,
            "distribution": item.distribution,
        }
        for item, recipe in described
    ]

    def render() -> list[RenderableType]:
        if not found:
            return [RECIPES_HINT]
        rows = [(item.name, recipe.description, item.distribution) for item, recipe in described]
        return [table(text_cells(("recipe", "description", "from"), rows))]

    show(json, value, render)
