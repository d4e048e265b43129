"""Folding into any operator with ``AffineChannels``, in numbers and without touching what is shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fx2ait_batch_norm import fx2ait_passes
from fx2ait_batch_norm.folding import fold_batch_norm
from fx2ait_batch_norm.operators import Affine

from fx2ait_core.sdk import (
    AffineChannels,
    Constant,
    Graph,
    Input,
    IRError,
    Operator,
    Origin,
    TensorType,
    Value,
    pointwise_operator,
    tensor_type,
)
from fx2ait_core.testing.calls import float32
from fx2ait_core.testing.conformance import check_plugin

Relu = pointwise_operator("test.relu")


class Convolution(Operator):
    """A 3x3 convolution that this plugin knows by its trait only."""

    kind = "test.convolution"
    operand_names = ("input", "weight", "bias")
    traits = (AffineChannels(),)

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: Any) -> tuple[TensorType, ...]:
        n, _, h, w = operands[0].shape
        return (tensor_type((n, operands[1].shape[0], h - 2, w - 2), operands[0].dtype),)


class Transposed(Convolution):
    """The same with its result channels along the weight's second dimension."""

    kind = "test.transposed"
    traits = (AffineChannels(weight_axis=1),)

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: Any) -> tuple[TensorType, ...]:
        n, _, h, w = operands[0].shape
        return (tensor_type((n, operands[1].shape[1], h + 2, w + 2), operands[0].dtype),)


class Model:
    """A graph of convolutions and affine operators over one input, evaluated with PyTorch."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.input = Input("x", float32(2, 3, 8, 8))
        self.graph.inputs.append(self.input)
        self.generator = np.random.default_rng()

    def constant(self, name: str, *shape: int) -> Constant:
        return Constant(name, self.generator.standard_normal(shape).astype(np.float32))

    def add(self, operator: type[Operator], *operands: Value) -> Value:
        made = operator(
            operands, name=self.graph.fresh_name(operator.kind.split(".")[1]), origin=Origin((operator.kind,))
        )
        self.graph.operators.append(made)
        return made.result

    def affine(self, value: Value) -> Value:
        channels = int(value.type.shape[1])
        shape = (channels, *(1,) * (value.type.rank - 2))
        return self.add(
            Affine,
            value,
            Constant("scale", self.generator.standard_normal(shape)),
            Constant("shift", self.generator.standard_normal(shape)),
        )

    def returns(self, *values: Value) -> None:
        self.graph.outputs = list(values)

    def run(self, x: torch.Tensor) -> list[torch.Tensor]:
        values: dict[Value, torch.Tensor] = {self.input: x.double()}
        for operator in self.graph.operators:
            operands = [
                torch.from_numpy(np.asarray(v.array, np.float64)) if isinstance(v, Constant) else values[v]
                for v in operator.inputs
            ]
            if isinstance(operator, Transposed):
                values[operator.result] = F.conv_transpose2d(*operands)
            elif isinstance(operator, Convolution):
                values[operator.result] = F.conv2d(*operands)
            elif isinstance(operator, Affine):
                values[operator.result] = operands[0] * operands[1] + operands[2]
            else:
                values[operator.result] = torch.relu(operands[0])
        return [values[output] for output in self.graph.outputs]


def folded_kinds(model: Model) -> list[str]:
    """Fold, require that the answers stay, and return the kinds of the operators left."""
    x = torch.randn(2, 3, 8, 8)
    arrays = {constant: constant.array.copy() for constant in model.graph.constants}
    before = model.run(x)
    fold_batch_norm(model.graph)
    for old, new in zip(before, model.run(x), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-12, atol=1e-12)
    for constant, array in arrays.items():
        np.testing.assert_array_equal(constant.array, array)
    return [operator.kind for operator in model.graph.operators]


def test_conformance() -> None:
    check_plugin("batch_norm")


@pytest.mark.parametrize("operator", [Convolution, Transposed])
@pytest.mark.parametrize("with_bias", [False, True])
def test_folds_into_weight_and_bias(operator: type[Operator], with_bias: bool) -> None:
    model = Model()
    weight = model.constant("weight", *((5, 3, 3, 3) if operator is Convolution else (3, 5, 3, 3)))
    bias = [model.constant("bias", 5)] if with_bias else []
    model.returns(model.affine(model.add(operator, model.input, weight, *bias)))
    assert folded_kinds(model) == [operator.kind]
    (left,) = model.graph.operators
    assert len(left.operands) == 3
    assert all(value.type.dtype.value == "float64" for value in left.operands[1:])
    assert left.origin.nodes == (operator.kind, "batch_norm.affine")


def test_a_shared_weight_is_folded_once_for_each_use() -> None:
    model = Model()
    weight = model.constant("weight", 5, 3, 3, 3)
    outputs = [model.affine(model.add(Convolution, model.input, weight)) for _ in range(2)]
    plain = model.add(Convolution, model.input, weight)
    model.returns(*outputs, plain)
    assert folded_kinds(model) == ["test.convolution"] * 3
    names = [constant.name for constant in model.graph.constants]
    assert len(set(names)) == len(names)


def test_two_in_a_row_fold_into_one() -> None:
    model = Model()
    convolution = model.add(Convolution, model.input, model.constant("weight", 5, 3, 3, 3))
    model.returns(model.affine(model.affine(convolution)))
    assert folded_kinds(model) == ["test.convolution"]


def test_a_result_that_others_read_is_left() -> None:
    model = Model()
    convolution = model.add(Convolution, model.input, model.constant("weight", 5, 3, 3, 3))
    model.returns(model.affine(convolution), model.add(Relu, convolution))
    assert folded_kinds(model) == ["test.convolution", "batch_norm.affine", "test.relu"]


def test_a_result_that_is_an_output_is_left() -> None:
    model = Model()
    convolution = model.add(Convolution, model.input, model.constant("weight", 5, 3, 3, 3))
    model.returns(model.affine(convolution), convolution)
    assert "batch_norm.affine" in folded_kinds(model)


def test_a_computed_weight_is_left() -> None:
    model = Model()
    weight = model.add(Relu, model.constant("weight", 5, 3, 3, 3))
    model.returns(model.affine(model.add(Convolution, model.input, weight)))
    assert "batch_norm.affine" in folded_kinds(model)


def test_behind_an_operator_without_the_trait_it_is_left() -> None:
    model = Model()
    model.returns(model.affine(model.add(Relu, model.input)), model.affine(model.input))
    assert folded_kinds(model) == ["test.relu", "batch_norm.affine", "batch_norm.affine"]


def test_the_pass_comes_before_fusion() -> None:
    (rewrite,) = fx2ait_passes()
    assert "form_programs" in rewrite.before


@pytest.mark.parametrize("shape", [(3,), (3, 4), (2, 3, 4)])
def test_operands_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(IRError):
        Affine.infer([float32(*shape), float32(5), float32(5)], None)
