"""Finding recipes by name and by path."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from fx2ait_core.errors import RecipeError
from fx2ait_core.extend.contributions import RecipeFolder
from fx2ait_core.recipes.find import available_recipes, find_recipe


@dataclass
class Folder:
    value: RecipeFolder
    distribution: str


@pytest.fixture
def folders(tmp_path: Path) -> list[Folder]:
    made = []
    for name, recipes in (("zoo", ["resnet18", "resnet50"]), ("other", ["unet"])):
        (tmp_path / name).mkdir()
        for recipe in recipes:
            (tmp_path / name / f"{recipe}.yaml").write_text("")
        (tmp_path / name / "notes.txt").write_text("")
        made.append(Folder(RecipeFolder(tmp_path / name), name))
    return made


def test_all_are_listed_by_name(folders: list[Folder]) -> None:
    assert [(r.name, r.distribution) for r in available_recipes(folders)] == [
        ("resnet18", "zoo"),
        ("resnet50", "zoo"),
        ("unet", "other"),
    ]


def test_by_name_and_by_path(folders: list[Folder], tmp_path: Path) -> None:
    assert find_recipe("unet", folders) == tmp_path / "other" / "unet.yaml"
    path = tmp_path / "zoo" / "resnet18.yaml"
    assert find_recipe(str(path), []) == path


def test_unknown_names_list_near_ones(folders: list[Folder]) -> None:
    with pytest.raises(RecipeError, match="did you mean resnet18"):
        find_recipe("resnet81", folders)
    with pytest.raises(RecipeError, match="known: resnet18, resnet50, unet"):
        find_recipe("xyzzy", folders)
    with pytest.raises(RecipeError, match="no such recipe file"):
        find_recipe("absent.yaml", folders)
    with pytest.raises(RecipeError, match=r"no recipe called resnet18.*\n.*pip install -r requirements.txt"):
        find_recipe("resnet18", [])


def test_a_name_used_twice_names_both(folders: list[Folder], tmp_path: Path) -> None:
    (tmp_path / "other" / "resnet18.yml").write_text("")
    with pytest.raises(RecipeError, match=r"comes from zoo .* and from other"):
        available_recipes(folders)


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"broken: its recipe folder .* does not exist"):
        available_recipes([Folder(RecipeFolder(tmp_path / "gone"), "broken")])
