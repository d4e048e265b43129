"""The limits of the recipes tell rounding from faults, even from a wrong channel deep inside a branch.

A network of random weights can enlarge every difference from layer to layer, until rounding alone exceeds
the limit and hides faults. The recipes' networks must not.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fx2ait_model_zoo
import pytest
import torch
from torch.fx.experimental.optimization import fuse

from fx2ait_core.bench.accuracy import Reference, relative_l2
from fx2ait_core.recipes.instantiate import example_inputs, instantiate
from fx2ait_core.recipes.loader import load_recipe, override

(FOLDER,) = fx2ait_model_zoo.fx2ait_recipes()
INSIDE_BRANCHES = {
    "resnet18": {"layer1.0.conv1": 1, "layer3.1.conv1": 1, "layer4.1.conv1": 8},
    "resnet50": {"layer1.1.conv2": 1, "layer3.4.conv2": 1, "layer4.2.conv2": 8},
}
"""Convolutions in the middle of a branch, and how many of their channels go wrong. One of the 512 in the last
block moves the answers hardly more than rounding does, however large the branch is."""


@dataclass(frozen=True)
class Subject:
    """A recipe's model in float32, images, the right answers to them, and the limit in fp16."""

    name: str
    model: Any
    images: torch.Tensor
    answers: torch.Tensor
    limit: float

    def error(self, model: Any) -> float:
        """Relative L2, of the answers of ``model``."""
        with torch.no_grad():
            return relative_l2(model(self.images), self.answers)


@pytest.fixture(scope="module", params=sorted(INSIDE_BRANCHES))
def subject(request: pytest.FixtureRequest) -> Subject:
    recipe = load_recipe(FOLDER.path / f"{request.param}.yaml")
    recipe = override(recipe, ["calibrate.batches=1"])  # for the sake of time
    model = instantiate(recipe, Path())
    images = example_inputs(recipe)[0]
    (answers,) = Reference(model, torch.device("cpu"))((images,))
    return Subject(request.param, model, images, answers, recipe.verify.relative_limit("cuda", "fp16"))


def rounded(model: Any) -> torch.nn.Module:
    """A copy that rounds as an engine does in fp16: batch norms folded, then parameters, the image and the
    results of each layer are float16 values, while sums are made in float32."""
    fused = fuse(model)
    for parameter in fused.parameters():
        parameter.data = parameter.data.half().float()
    for leaf in (module for module in fused.modules() if not list(module.children())):
        leaf.register_forward_hook(lambda _, given, result: result.half().float())
    fused.register_forward_pre_hook(lambda _, given: (given[0].half().float(),))
    return fused


@contextmanager
def wrong_channels(convolution: torch.nn.Module, count: int) -> Iterator[None]:
    """Inside, ``count`` filters in the middle are taken for those of the next channels too."""

    def with_fault(_: torch.nn.Module, given: object, result: torch.Tensor) -> torch.Tensor:
        middle = result.shape[1] // 2
        result = result.clone()
        result[:, middle + count : middle + 2 * count] = result[:, middle : middle + count]
        return result

    hook = convolution.register_forward_hook(with_fault)
    yield
    hook.remove()


def test_rounding_stays_below_the_limit(subject: Subject) -> None:
    assert subject.error(subject.model) < 1e-5
    assert 1e-4 < subject.error(rounded(subject.model)) < subject.limit


def test_wrong_channels_inside_a_branch_are_above_the_limit(subject: Subject) -> None:
    for name, count in INSIDE_BRANCHES[subject.name].items():
        with wrong_channels(subject.model.get_submodule(name), count):
            assert subject.error(subject.model) > subject.limit, name
