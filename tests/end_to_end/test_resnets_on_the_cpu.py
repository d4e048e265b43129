"""The zoo's ResNets: compiled for the CPU and compared with the original modules."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torchvision

import fx2ait_core as fx2ait
from fx2ait_core.bench.calibrate import calibrated
from fx2ait_core.compiler import tree_manifest
from fx2ait_core.errors import EngineInputError, VerificationError

DEPTHS = [18, 34, 50, 101, 152]


def resnet(depth: int) -> torch.nn.Module:
    """Random weights, batch-norm statistics calibrated on random images."""
    model = getattr(torchvision.models, f"resnet{depth}")(num_classes=1000)
    return calibrated(model, [(torch.randn(4, 3, 64, 64),)])


@pytest.mark.slow
@pytest.mark.parametrize("depth", DEPTHS)
def test_answers_are_pytorch_s(depth: int) -> None:
    model = resnet(depth)
    engine = fx2ait.compile(
        model,
        torch.randn(2, 3, 224, 224),
        target="cpu",
        dynamic_batch=(1, 2),
        tune=False,
        name=f"resnet{depth}",
    )
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        reference = model.double()(images.double())
    error = (engine(images) - reference).norm() / reference.norm()
    assert error < 1e-4
    assert torch.equal(engine(images), engine(images.contiguous(memory_format=torch.channels_last)))


def test_activations_fit_in_the_lower_bound() -> None:
    tree = fx2ait.emit_only(
        torchvision.models.resnet18(), torch.zeros(2, 3, 224, 224), target="cpu", dynamic_batch=(1, 32)
    )
    for bucket in tree_manifest(tree)["memory"]["buckets"]:
        assert bucket["arena"] <= 1.10 * bucket["lower_bound"]
        assert bucket["arena"] < 0.6 * bucket["sum_of_activations"]


@pytest.fixture(scope="module")
def small() -> tuple[torch.nn.Module, fx2ait.Engine]:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1),
        torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 36, 10),
    )
    model = calibrated(model, [(torch.randn(8, 3, 6, 6),)])
    engine = fx2ait.compile(model, torch.randn(2, 3, 6, 6), target="cpu", dynamic_batch=(1, 8), tune=False)
    assert isinstance(engine, fx2ait.Engine)
    return model, engine


def test_verification_passes_on_the_right_model_and_fails_on_a_wrong_one(
    small: tuple[torch.nn.Module, fx2ait.Engine],
) -> None:
    model, engine = small
    assert fx2ait.verify(engine, model).passed
    wrong = copy.deepcopy(model)
    with torch.no_grad():
        wrong[0].weight[0] *= 1.5
    report = fx2ait.verify(engine, wrong)
    assert not report.passed
    with pytest.raises(VerificationError):
        report.raise_if_failed()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: torch.randn(2, 3, 6, 7), "7"),
        (lambda: torch.randn(3, 6, 6), "rank|dimensions|shape"),
        (lambda: torch.randn(9, 3, 6, 6), "1..8|1 to 8|between"),
        (lambda: torch.randn(0, 3, 6, 6), "1..8|1 to 8|between"),
        (lambda: torch.randint(0, 9, (2, 3, 6, 6)), "int64"),
        (lambda: "an image", "str|Tensor"),
    ],
)
def test_bad_inputs_are_refused(
    small: tuple[torch.nn.Module, fx2ait.Engine], make: object, words: str
) -> None:
    with pytest.raises(EngineInputError, match=words):
        small[1](make())  # type: ignore[operator]


def test_a_saved_engine_answers_the_same(
    small: tuple[torch.nn.Module, fx2ait.Engine], tmp_path: Path
) -> None:
    x = torch.randn(5, 3, 6, 6)
    path = small[1].save(tmp_path / "small.fx2ait")
    assert torch.equal(fx2ait.load(path)(x), small[1](x))
