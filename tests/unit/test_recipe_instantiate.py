"""From a recipe to a model: reproducible, calibrated, with weights that fit."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from fx2ait_core.errors import RecipeError
from fx2ait_core.recipes.instantiate import example_inputs, instantiate, load_weights
from fx2ait_core.recipes.schema import Recipe

INPUTS = [{"name": "image", "shape": ["batch", 3, 8, 8]}]


class Small(torch.nn.Module):
    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 5, 3)
        self.norm = torch.nn.BatchNorm2d(5)
        self.head = torch.nn.Linear(5 * 36, classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.stem(image)).flatten(1))


def recipe(**fields: Any) -> Recipe:
    settled = {"name": "small", "model": "fx2ait_recipe_models:Small", "inputs": INPUTS}
    return Recipe.model_validate({**settled, "dynamic": {"batch": {"max": 16}}, **fields})


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> None:
    """``Small`` importable by a name that a recipe can give."""
    import sys  # noqa: PLC0415
    import types  # noqa: PLC0415

    module = types.ModuleType("fx2ait_recipe_models")
    module.Small = Small  # type: ignore[attr-defined]
    module.number = lambda: 3  # type: ignore[attr-defined]
    module.constant = 7  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fx2ait_recipe_models", module)


def test_the_seed_decides_weights_and_statistics_and_nothing_else_is_touched() -> None:
    torch.manual_seed(11)
    state = torch.get_rng_state()
    first, second = instantiate(recipe(seed=3), Path()), instantiate(recipe(seed=3), Path())
    other = instantiate(recipe(seed=4), Path())
    assert torch.equal(torch.get_rng_state(), state)
    assert not first.training
    for (name, a), (_, b) in zip(first.state_dict().items(), second.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert not torch.equal(first.stem.weight, other.stem.weight)
    assert not torch.equal(first.norm.running_mean, torch.zeros(5))
    assert not torch.equal(first.norm.running_var, torch.ones(5))


def test_calibration_can_be_turned_off() -> None:
    model = instantiate(recipe(calibrate={"batches": 0}), Path())
    assert torch.equal(model.norm.running_mean, torch.zeros(5))


def test_example_inputs_avoid_a_batch_of_one_unless_asked() -> None:
    assert example_inputs(recipe())[0].shape == (2, 3, 8, 8)
    assert example_inputs(recipe(), batch=1)[0].shape == (1, 3, 8, 8)
    assert example_inputs(recipe(dynamic={"batch": {"min": 5, "max": 9}}))[0].shape[0] == 5


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt"])
def test_weights_are_loaded(tmp_path: Path, suffix: str) -> None:
    torch.manual_seed(5)
    wanted = Small().state_dict()
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        safetensors.torch.save_file(wanted, path)
    else:
        torch.save({"state_dict": wanted} if suffix == ".pt" else wanted, path)
    model = instantiate(recipe(weights=path.name), tmp_path)
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())


def test_weights_that_do_not_fit_list_everything_and_change_nothing(tmp_path: Path) -> None:
    model = Small()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    weights = Small(classes=9).state_dict()
    del weights["stem.bias"]
    weights["extra"] = torch.zeros(1)
    torch.save(weights, tmp_path / "w.pth")
    with pytest.raises(RecipeError) as caught:
        load_weights(model, tmp_path / "w.pth")
    text = str(caught.value)
    assert "missing: stem.bias" in text
    assert "unexpected: extra" in text
    assert "head.weight (9, 180) instead of (4, 180)" in text
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


class Hostile:
    def __init__(self, call: Any) -> None:
        self.call = call

    def __reduce__(self) -> Any:
        return self.call, ("echo this must never run",)


def test_weights_files_that_cannot_be_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": Hostile(print)}, tmp_path / "hostile.pth")
    torch.save({"a": Hostile(os.system)}, tmp_path / "blocked.pth")
    torch.save(Small(), tmp_path / "module.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"model": Small().state_dict(), "epoch": 3}, tmp_path / "nested.pth")
    (tmp_path / "noise.pth").write_bytes(b"hello" * 100)
    (tmp_path / "zeros.pth").write_bytes(bytes(100))
    (tmp_path / "cut.pth").write_bytes((tmp_path / "nested.pth").read_bytes()[:1000])
    (tmp_path / "short.safetensors").write_bytes(b"\x10")
    (tmp_path / "short.pth").write_bytes(b"")
    (tmp_path / "weights.npz").write_bytes(b"")
    for name, reason in {
        "hostile.pth": r"holds more than tensors.*torch\.save\(model\.state_dict\(\), path\)",
        "blocked.pth": r"holds more than tensors.*torch\.save\(model\.state_dict\(\), path\)",
        "module.pth": "holds more than tensors",
        "list.pth": "no mapping",
        "nested.pth": r"no mapping of names to tensors \(its keys are model, epoch\)",
        "noise.pth": r"cannot be read \(KeyError: 101\); if it is damaged.*torch\.save",
        "zeros.pth": "cannot be read",
        "cut.pth": "cannot be read",
        "short.safetensors": "cannot be read",
        "short.pth": "cannot be read",
        "weights.npz": "read from .safetensors",
        "absent.pth": "no such weights file",
    }.items():
        with pytest.raises(RecipeError, match=reason) as caught:
            load_weights(Small(), tmp_path / name)
        assert "weights_only" not in str(caught.value)
    assert "never" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"model": "no_such_package_anywhere:model"}, "small: model: no_such.*cannot be imported: Module"),
        (
            {"model": "fx2ait_recipe_models:Smal"},
            "recipe small: model: fx2ait_recipe_models has no Smal; did you mean Small?",
        ),
        (
            {"model": "fx2ait_recipe_models:constant"},
            "recipe small: model: fx2ait_recipe_models:constant is not",
        ),
        ({"model": "fx2ait_recipe_models:number"}, "returned int, not a torch.nn.Module"),
        ({"kwargs": {"depth": 3}}, r"failed with \{'depth': 3\}: TypeError"),
    ],
)
def test_models_that_cannot_be_made(fields: dict[str, Any], reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        instantiate(recipe(**fields), Path())


def test_a_module_beside_the_recipe_is_found_and_the_path_is_left_as_it_was(tmp_path: Path) -> None:
    source = "def make():\n    import torch, beside_too\n    return torch.nn.Conv2d(3, 4, beside_too.n)\n"
    (tmp_path / "beside_the_recipe.py").write_text(source)
    (tmp_path / "beside_too.py").write_text("n = 3\n")
    before = list(sys.path)
    assert instantiate(recipe(model="beside_the_recipe:make"), tmp_path).weight.shape == (4, 3, 3, 3)
    assert sys.path == before
    with pytest.raises(RecipeError, match=r"no_such_module cannot be imported.*beside the recipe"):
        instantiate(recipe(model="no_such_module:make"), tmp_path)


def test_inputs_that_the_model_does_not_take_are_an_error_that_names_them() -> None:
    wrong = recipe(inputs=[{"name": "image", "shape": ["batch", 4, 8, 8]}])
    with pytest.raises(RecipeError, match=r"image: float32\[batch, 4, 8, 8\]\): RuntimeError.* 3 channels"):
        instantiate(wrong, Path())
