"""Every recipe of the zoo: found by its name, made, calibrated, and of the right outputs."""

from pathlib import Path

import fx2ait_model_zoo
import pytest
import torch

from fx2ait_core.recipes.instantiate import example_inputs, instantiate
from fx2ait_core.recipes.loader import load_recipe, override

(FOLDER,) = fx2ait_model_zoo.fx2ait_recipes()
NAMES = ["resnet101", "resnet152", "resnet18", "resnet34", "resnet50"]
PARAMETERS = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
}


def test_these_recipes_are_here() -> None:
    assert sorted(path.stem for path in FOLDER.path.glob("*.yaml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_makes_its_model(name: str) -> None:
    recipe = load_recipe(FOLDER.path / f"{name}.yaml")
    smaller = ["calibrate.batches=1", "calibrate.batch_size=4", "inputs.0.shape=[batch, 3, 64, 64]"]
    recipe = override(recipe, smaller)  # the same model in a tenth of the time
    model = instantiate(recipe, Path())
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]
    assert not bool((model.bn1.running_mean == 0).any())
    with torch.no_grad():
        scores = model(*example_inputs(recipe))
    assert scores.shape == (2, 1000)
    assert bool(torch.isfinite(scores).all())
    assert float(scores.std()) > 1e-3, "scores that do not differ would verify anything"
