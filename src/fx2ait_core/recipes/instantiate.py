"""From a recipe to a live model and example inputs."""

from __future__ import annotations

import difflib
import importlib
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from ..bench.calibrate import calibrated
from ..bench.samples import InputDescription, random_inputs
from ..errors import RecipeError
from .schema import Recipe

_MEND = "write it with torch.save(model.state_dict(), path), or as safetensors"


def input_descriptions(recipe: Recipe) -> tuple[InputDescription, ...]:
    """Names, shapes and dtypes of the inputs."""
    return tuple(InputDescription(item.name, item.shape, item.dtype) for item in recipe.inputs)


def instantiate(recipe: Recipe, folder: Path) -> torch.nn.Module:
    """The model in eval mode, on the CPU, with its weights loaded or random by the recipe's seed, and
    with calibrated running statistics unless a weights file brings them.

    :param folder: the recipe's own: a relative ``weights`` path starts there, and modules beside the
        recipe can be imported (those on Python's path come first).

    The caller's random state is left as it was. Raises :class:`~fx2ait_core.errors.RecipeError` for a
    model that cannot be imported or made, or does not take the recipe's inputs, and for weights that
    cannot be read or do not fit.
    """
    with torch.random.fork_rng(devices=[]), _importable(folder):
        make = _callable(recipe, folder)
        torch.manual_seed(recipe.seed)
        try:
            model = make(**recipe.kwargs)
        except Exception as error:
            raise RecipeError(
                f"recipe {recipe.name}: {recipe.model} failed with {recipe.kwargs}: "
                f"{type(error).__name__}: {error}"
            ) from error
    if not isinstance(model, torch.nn.Module):
        raise RecipeError(
            f"recipe {recipe.name}: {recipe.model} returned {type(model).__name__}, not a torch.nn.Module"
        )
    model.eval()
    if recipe.weights is not None:
        load_weights(model, folder / Path(recipe.weights).expanduser())
        return model
    size = recipe.calibrate.batch_size
    sizes = {name: _clamp(size, item.min, item.max) for name, item in recipe.dynamic.items()}
    batches = [
        random_inputs(input_descriptions(recipe), sizes, seed=recipe.seed + 1 + index)
        for index in range(recipe.calibrate.batches)
    ]
    try:
        return calibrated(model, batches)
    except Exception as error:
        given = ", ".join(
            f"{item.name}: {item.dtype}[{', '.join(map(str, item.shape))}]" for item in recipe.inputs
        )
        raise RecipeError(
            f"recipe {recipe.name}: {recipe.model} does not take the recipe's inputs ({given}): "
            f"{type(error).__name__}: {error}"
        ) from error


def example_inputs(recipe: Recipe, batch: int | None = None) -> tuple[torch.Tensor, ...]:
    """Random inputs on the CPU; each dynamic symbol at its smallest size of at least 2 where allowed,
    because ``torch.export`` takes a size of 1 for a constant. ``batch`` fixes all of them instead."""
    sizes = {name: batch or _clamp(2, item.min, item.max) for name, item in recipe.dynamic.items()}
    return random_inputs(input_descriptions(recipe), sizes, seed=recipe.seed)


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Load ``path`` (safetensors, or a file of ``torch.save`` that holds tensors only) into ``model``.

    Raises :class:`~fx2ait_core.errors.RecipeError` that lists missing keys, unexpected keys and
    shapes that differ; the model is then unchanged.
    """
    weights = _read_weights(path)
    expected = model.state_dict()
    faults = [_listing("missing", [key for key in expected if key not in weights])]
    faults.append(_listing("unexpected", [key for key in weights if key not in expected]))
    faults.append(
        _listing(
            "of another shape",
            [
                f"{key} {tuple(weights[key].shape)} instead of {tuple(tensor.shape)}"
                for key, tensor in expected.items()
                if key in weights and weights[key].shape != tensor.shape
            ],
        )
    )
    if text := "; ".join(fault for fault in faults if fault):
        raise RecipeError(f"{path}: these weights do not fit the model: {text}")
    model.load_state_dict(dict(weights))


def _read_weights(path: Path) -> Mapping[str, torch.Tensor]:
    if not path.is_file():
        raise RecipeError(f"{path}: no such weights file")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        if path.suffix not in (".pth", ".pt"):
            raise RecipeError(f"{path}: weights are read from .safetensors, .pth or .pt files")
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except RecipeError:
        raise
    except Exception as error:  # of a file that is noise the unpickler raises anything
        if "GLOBAL" in str(error):
            raise RecipeError(
                f"{path}: holds more than tensors, which is not loaded because it could run code; {_MEND}"
            ) from error
        cause = type(error).__name__
        if not isinstance(error, pickle.UnpicklingError):  # where torch advises to load it all the same
            cause += f": {error}"
        raise RecipeError(
            f"{path}: the weights cannot be read ({cause}); if it is damaged or of another kind, {_MEND}"
        ) from error
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if isinstance(content, Mapping) and all(isinstance(item, torch.Tensor) for item in content.values()):
        return content
    keys = f" (its keys are {', '.join(map(str, content))})" if isinstance(content, Mapping) else ""
    raise RecipeError(f"{path}: holds no mapping of names to tensors{keys}; {_MEND}")


def _callable(recipe: Recipe, folder: Path) -> Callable[..., Any]:
    module_name, _, attributes = recipe.model.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise RecipeError(
            f"recipe {recipe.name}: model: {module_name} cannot be imported: {type(error).__name__}: "
            f"{error}; install the package, put the module beside the recipe ({folder}), or correct the name "
            "before the colon"
        ) from error
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            near = difflib.get_close_matches(attribute, dir(found), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise RecipeError(f"recipe {recipe.name}: model: {module_name} has no {attribute}{hint}")
        found = getattr(found, attribute)
    if not callable(found):
        raise RecipeError(f"recipe {recipe.name}: model: {recipe.model} is not callable")
    return found


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Inside, modules in ``folder`` can be imported too, where nothing else on the path has their name."""
    entry = str(folder.absolute())
    if entry in sys.path:
        yield
        return
    sys.path.append(entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def _listing(title: str, keys: list[str], limit: int = 8) -> str:
    more = f" and {len(keys) - limit} more" if len(keys) > limit else ""
    return f"{title}: {', '.join(keys[:limit])}{more}" if keys else ""


def _clamp(value: int, low: int, high: int) -> int:
    return max(low, min(value, high))
