"""Figures of accuracy, and verification with its negative control."""

import copy
import math
from typing import Any

import pytest
import torch

from fx2ait_core.bench.accuracy import Errors, compare, relative_l2, tensors, worst
from fx2ait_core.bench.calibrate import calibrated
from fx2ait_core.bench.verify import Limits, verify
from fx2ait_core.errors import VerificationError
from fx2ait_core.report.columns import verification_cells


class Small(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 6, 3)
        self.norm = torch.nn.BatchNorm2d(6)
        self.drop = torch.nn.Dropout(0.5)
        self.head = torch.nn.Linear(6 * 36, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.norm(self.stem(image))).flatten(1))


class Pretender:
    """An engine that runs a module, right or wrong, and remembers the batches it was given."""

    def __init__(
        self,
        model: torch.nn.Module,
        low: int = 1,
        high: int = 8,
        size: int | str = "batch",
        buckets: tuple[int, ...] = (),
    ) -> None:
        self.model = model
        self.batches: list[int] = []
        self.manifest: dict[str, Any] = {
            "name": "small",
            "precision": "float32",
            "target": {"name": "cpu", "arch": "x86-64"},
            "symbols": {"batch": {"min": low, "max": high}} if size == "batch" else {},
            "inputs": [{"name": "image", "shape": [size, 3, 8, 8], "dtype": "float32"}],
            "outputs": [{"name": "output", "shape": [size, 5], "dtype": "float32"}],
            "plan": {"buckets": [{"sizes": {"batch": batch}} for batch in buckets]},
            "plugins": {},
        }

    def __call__(self, *inputs: torch.Tensor) -> Any:
        self.batches.append(inputs[0].shape[0])
        return self.model(*inputs)


@pytest.fixture
def model() -> torch.nn.Module:
    return calibrated(Small(), [(torch.randn(16, 3, 8, 8) * 2 + 1,) for _ in range(2)])


def test_relative_l2_against_hand_figures() -> None:
    assert relative_l2(torch.tensor([3.0, 4.0]), torch.tensor([3.0, 0.0])) == pytest.approx(4 / 3)
    assert relative_l2(torch.zeros(3), torch.zeros(3)) == 0
    assert relative_l2(torch.ones(3), torch.zeros(3)) == math.inf
    assert relative_l2(torch.tensor([math.nan]), torch.ones(1)) == math.inf
    assert relative_l2(torch.ones(2), torch.ones(3)) == math.inf
    assert relative_l2(torch.ones(2, dtype=torch.float16) * 1.5, torch.ones(2).double()) == pytest.approx(0.5)


def test_compare_takes_the_worst_output_and_counts_agreement() -> None:
    reference = torch.tensor([[1.0, 2.0], [4.0, 3.0]])
    answer = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    errors = compare([answer, torch.ones(3)], [reference, torch.ones(3)])
    assert errors.top1_agreement == 0.5
    assert errors.max_absolute == 1.0
    assert errors.relative_l2 == pytest.approx(math.sqrt(2 / 30))
    assert compare([answer], [reference, reference]).relative_l2 == math.inf
    assert compare([answer[:1]], [reference]).max_absolute == math.inf
    assert compare([torch.full((1, 2), math.nan)], [reference[:1]]).max_absolute == math.inf


def test_worst_weighs_agreement_by_samples() -> None:
    errors = worst([(Errors(0.1, 1.0, 1.0), 1), (Errors(0.2, 0.5, 0.5), 3)])
    assert errors == Errors(0.2, 1.0, pytest.approx(0.625))
    assert worst([(Errors(0.1, 1.0, None), 1)]).top1_agreement is None


def test_tensors_flattens_what_models_return() -> None:
    a, b = torch.zeros(1), torch.ones(1)
    assert len(tensors({"x": a, "rest": [b, (a, b)], "note": 3})) == 4


def test_calibration_copies_and_measures() -> None:
    original = Small()
    before = copy.deepcopy(original.state_dict())
    data = [(torch.randn(64, 3, 8, 8) * 3 + 2,) for _ in range(3)]
    made = calibrated(original, data)
    assert original.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in original.state_dict().items())
    assert not made.training
    assert made.norm.momentum == original.norm.momentum
    with torch.no_grad():
        seen = torch.cat([made.stem(batch[0]) for batch in data])
    torch.testing.assert_close(made.norm.running_mean, seen.mean((0, 2, 3)), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(made.norm.running_var, seen.var((0, 2, 3)), rtol=2e-2, atol=1e-3)
    assert not torch.equal(made.norm.weight, original.norm.weight)


def test_branches_that_start_at_zero_add_together_what_the_path_beside_them_holds() -> None:
    model = torch.nn.Sequential(*(torch.nn.BatchNorm2d(64) for _ in range(16)))
    for norm in model[:9]:  # the others keep scales of 1
        torch.nn.init.zeros_(norm.weight)
    made = calibrated(model, [(torch.randn(4, 64, 2, 2),)])
    for norm in made[:9]:
        torch.testing.assert_close(norm.weight.mean(), torch.tensor(1 / 3), atol=0.05, rtol=0)
        assert 0.19 < norm.weight.min() < norm.weight.max() < 0.48
        assert norm.bias.abs().max() < 0.11
    for norm in made[9:]:
        assert 0.89 < norm.weight.min() < norm.weight.max() < 1.11
    assert not bool(model[0].weight.any())


def test_a_faithful_engine_passes_at_several_batches(model: torch.nn.Module) -> None:
    engine = Pretender(model)
    state = copy.deepcopy(model.state_dict())
    report = verify(engine, model, samples=12)
    assert engine.batches == [1, 8, 3]
    assert report.samples == 12
    assert report.passed
    assert report.reference == "float64"
    assert 0 < report.engine.relative_l2 < 1e-5
    assert report.pytorch is not None and 0 < report.pytorch.relative_l2 < 1e-5
    assert report.engine.top1_agreement == 1.0
    report.raise_if_failed()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_fixed_and_narrow_batches_are_respected(model: torch.nn.Module) -> None:
    fixed = Pretender(model, size=5)
    assert verify(fixed, model, samples=8).samples == 10
    assert fixed.batches == [5, 5]
    narrow = Pretender(model, low=4, high=6)
    verify(narrow, model, samples=8)
    assert narrow.batches == [4, 4]


@pytest.mark.parametrize("fault", ["statistics", "weights", "another model", "shape", "not a number"])
def test_a_wrong_engine_fails(model: torch.nn.Module, fault: str) -> None:
    """The negative control: faults of the kinds that compilers make are seen."""
    wrong: Any = copy.deepcopy(model)
    with torch.no_grad():
        if fault == "statistics":  # as if running statistics had their defaults
            wrong.norm.running_mean.zero_()
            wrong.norm.running_var.fill_(1)
        elif fault == "weights":
            wrong.head.weight[0] *= 1.2
        elif fault == "another model":
            wrong = calibrated(Small(), [(torch.randn(16, 3, 8, 8),)])
    engine = Pretender(wrong)
    if fault == "shape":
        engine.model = lambda image: wrong(image)[:, :4]  # type: ignore[assignment]
    if fault == "not a number":
        engine.model = lambda image: wrong(image) * math.nan  # type: ignore[assignment]
    report = verify(engine, model, samples=8)
    assert not report.passed
    with pytest.raises(VerificationError, match=r"small on cpu at fp32 .* error .* is above 0\.01"):
        report.raise_if_failed()


def test_each_limit_is_checked_by_itself() -> None:
    errors = Errors(relative_l2=0.005, max_absolute=0.5, top1_agreement=0.9)
    assert Limits().violations(errors) == ()
    assert "relative" in Limits(max_relative_error=0.001).violations(errors)[0]
    assert "absolute" in Limits(max_absolute_error=0.1).violations(errors)[0]
    assert "agreement" in Limits(min_top1_agreement=0.95).violations(errors)[0]
    nothing = Errors(0.0, 0.0, None)
    assert "no output has the shape" in Limits(min_top1_agreement=0.5).violations(nothing)[0]
    assert Limits().violations(Errors(math.nan, 0.0, None))


def test_every_bucket_is_checked(model: torch.nn.Module) -> None:
    engine = Pretender(model, high=64, buckets=(1, 8, 16, 64))
    report = verify(engine, model, samples=8)
    assert report.passed and report.samples == 8
    assert set(engine.batches) == {1, 7, 16, 64} == set(report.batches)
    assert "8 samples" in (caption := verification_cells(report).caption) and caption.endswith("1, 7, 16, 64")


def test_a_fault_of_one_bucket_is_found_and_named(model: torch.nn.Module) -> None:
    engine = Pretender(model, high=64, buckets=(1, 8, 16, 64))

    def wrong_at_16(image: torch.Tensor) -> torch.Tensor:
        answer = model(image)
        return answer.roll(1, 0) if len(image) == 16 else answer

    engine.model = wrong_at_16  # type: ignore[assignment]
    with pytest.raises(VerificationError, match=r"relative L2 error .* worst at batch 16"):
        verify(engine, model).raise_if_failed()


class Mixing(Small):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image - image.mean(0))


@pytest.mark.parametrize("why", ["samples are mixed", "slow", "an output without the batch"])
def test_what_cannot_be_checked_at_every_bucket_is_not(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = calibrated(Mixing() if why == "samples are mixed" else Small(), [(torch.randn(16, 3, 8, 8),)])
    engine = Pretender(model, high=64, buckets=(1, 8, 64))
    if why == "slow":
        monkeypatch.setattr("fx2ait_core.bench.verify._MOST_SECONDS", 0.0)
    if why == "an output without the batch":
        engine.manifest["outputs"][0]["shape"] = [5, "batch"]
    report = verify(engine, model)
    assert report.passed and report.batches == (1, 7)


def test_given_inputs_are_used(model: torch.nn.Module) -> None:
    engine = Pretender(model)
    report = verify(engine, model, inputs=[torch.randn(3, 3, 8, 8)])
    assert engine.batches == [3]
    assert report.samples == 3
    assert verify(engine, model, torch.randn(4, 3, 8, 8)).samples == 4


class ToSingle(torch.nn.Module):
    """Converts to float32 itself, as models do that take images of bytes or half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(8, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(image.float().mean((1, 2)))


def test_a_module_that_converts_to_float32_itself_is_its_own_reference() -> None:
    model = ToSingle()
    engine = Pretender(model)
    report = verify(engine, model)
    assert report.reference == "float32" and report.passed and report.pytorch is not None
    engine.manifest["precision"] = "float16"
    halved = verify(engine, model)
    assert halved.passed and halved.pytorch is None
    assert verification_cells(halved).rows[1] == ("PyTorch fp16", "–", "–", "–")
    engine.model = lambda image: model(image) * 1.5  # type: ignore[assignment]
    with pytest.raises(VerificationError, match="PyTorch at fp16: cannot run it"):
        verify(engine, model).raise_if_failed()


def test_a_module_that_fails_is_not_taken_for_a_wrong_engine(model: torch.nn.Module) -> None:
    engine = Pretender(model)
    engine.model = lambda image: image  # type: ignore[assignment]
    with pytest.raises(VerificationError, match=r"the module itself fails on these inputs: .* 3 channels"):
        verify(engine, model, torch.randn(2, 4, 8, 8))
