"""What capture takes: a module, its batch, names of its inputs, and outputs that can be handed back."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest
import torch

from fx2ait_core.capture import batch_dimensions, capture, names_of_inputs
from fx2ait_core.errors import CaptureError
from fx2ait_core.ir.dims import DimRange

LEFT, RIGHT = torch.zeros(3, 8), torch.zeros(5)


def test_fixed_inputs_have_no_batch() -> None:
    symbols, dynamic = batch_dimensions((1, 8), {"left": LEFT, "right": RIGHT}, ["right"])
    assert symbols == {"batch": DimRange(1, 8)}
    assert dynamic == {0: {0: "batch"}}
    assert batch_dimensions((1, 1), {"left": LEFT[:1]}) == ({}, {})


@pytest.mark.parametrize(
    ("limits", "examples", "fixed", "words"),
    [
        (4, {"left": LEFT}, (), "dynamic_batch=4 is not a range (smallest, largest)"),
        ((1, 2, 3), {"left": LEFT}, (), "dynamic_batch=(1, 2, 3) is not a range"),
        ((4, 1), {"left": LEFT}, (), "needs 1 <= min <= max, not 4..1"),
        ((0, 4), {"left": LEFT}, (), "needs 1 <= min <= max"),
        ((1, 2), {"left": LEFT}, (), "example input left has a batch of 3, outside dynamic_batch 1..2"),
        ((1, 4), {"left": LEFT, "right": RIGHT}, (), "example input right has a batch of 5"),
        ((1, 1), {"left": LEFT}, (), "example input left has a batch of 3"),
        ((1, 4), {"left": LEFT, "right": torch.tensor(1.0)}, (), "right has no dimension that could be"),
        ((1, 4), {"left": LEFT}, ("write",), "fixed_inputs: there is no write among left"),
        ((1, 4), {"left": LEFT}, ("left",), "no input has a batch"),
        ((1, 4), {"left": 3}, (), "example input left is a int, not a torch.Tensor"),
    ],
)
def test_what_does_not_fit_is_named(limits: Any, examples: Any, fixed: Any, words: str) -> None:
    with pytest.raises(CaptureError, match=re.escape(words)):
        batch_dimensions(limits, examples, fixed)


class Pair(NamedTuple):
    first: torch.Tensor
    second: torch.Tensor


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (lambda x: (x + 1, None), "output 1 is None, not a tensor"),
        (lambda x: (5, x + 1), "output 0 is 5, not a tensor"),
        (lambda x: Pair(x + 1, x), "Return tensors in tuples, lists and dictionaries."),
    ],
)
def test_what_an_engine_cannot_return_is_named(returned: Any, words: str) -> None:
    class Net(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return returned(x)

    with pytest.raises(CaptureError, match=re.escape(words)):
        capture(Net(), (LEFT,))


def test_names_must_differ_and_a_model_be_a_module() -> None:
    model = torch.nn.Bilinear(3, 4, 5)
    assert names_of_inputs(model, 2) == ["input1", "input2"]
    with pytest.raises(CaptureError, match="inputs share the name x"):
        names_of_inputs(model, 2, ["x", "x"])
    with pytest.raises(CaptureError, match="1 input names were given for 2 example inputs"):
        names_of_inputs(model, 2, ["x"])
    with pytest.raises(CaptureError, match=r"the model is a function, not a torch\.nn\.Module"):
        capture(lambda x: x, (LEFT,))  # type: ignore[arg-type]
