"""The model zoo: recipes only."""

from pathlib import Path

from fx2ait_core.sdk import RecipeFolder, hookimpl


@hookimpl
def fx2ait_recipes() -> list[RecipeFolder]:
    return [RecipeFolder(Path(__file__).parent / "recipes")]
