"""Conversion of linear layers and matrix products, in numbers, and what is declined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from fx2ait_linear.converters import CONVERTERS
from fx2ait_linear.operators import (
    AddBias,
    Linear,
    MatMul,
    Rows,
    RowsAttributes,
    SumAttributes,
    Transpose,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Symbol

from fx2ait_core.sdk import Constant, DType, Input, IRError, Operator, Value, tensor_type
from fx2ait_core.testing.calls import RecordedCall, float32, record_call
from fx2ait_core.testing.conformance import check_plugin

BATCH = Symbol("batch", integer=True, positive=True)
size = st.integers(1, 5)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng().standard_normal(shape).astype(np.float32)


def run(recorded: RecordedCall, result: Value, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """What the converted operators compute, by their documentation."""
    values: dict[Value, np.ndarray] = {}

    def array(value: Value) -> np.ndarray:
        if isinstance(value, Constant):
            return value.array
        return inputs[value.name] if isinstance(value, Input) else values[value]

    def compute(operator: Operator, operands: list[np.ndarray]) -> np.ndarray:
        attributes = operator.attributes
        if isinstance(operator, Linear):
            return operands[0] @ operands[1].T + (operands[2] if len(operands) > 2 else 0)
        if isinstance(operator, MatMul):
            return operands[0] @ operands[1]
        if isinstance(operator, Transpose):
            return operands[0].T
        if isinstance(operator, AddBias):
            return operands[0] + operands[1]
        if isinstance(attributes, SumAttributes):
            return attributes.alpha * operands[0] + attributes.beta * operands[1]
        assert isinstance(attributes, RowsAttributes)
        return operands[0].reshape(attributes.shape)

    for operator in recorded.operators:
        values[operator.result] = compute(operator, [array(value) for value in operator.operands])
        assert values[operator.result].shape == operator.result.type.shape
    return values[result]


def test_conformance() -> None:
    check_plugin("linear")


@settings(deadline=None)
@given(st.lists(size, max_size=3), size, size, st.booleans(), st.booleans())
def test_linear(leading: list[int], k: int, n: int, with_bias: bool, computed: bool) -> None:
    x, weight, bias = normal(*leading, k), normal(n, k), normal(n) if with_bias else None
    recorded = record_call(
        "aten.linear.default",
        input=float32(*x.shape),
        weight=float32(n, k) if computed else weight,
        bias=bias if bias is None or not computed else float32(n),
    )
    result = recorded.convert(CONVERTERS)
    expected = torch.nn.functional.linear(
        torch.from_numpy(x), torch.from_numpy(weight), None if bias is None else torch.from_numpy(bias)
    )
    inputs = {"input": x, "weight": weight} | ({} if bias is None else {"bias": bias})
    np.testing.assert_allclose(run(recorded, result, inputs), expected.numpy(), rtol=1e-4, atol=1e-5)


def test_the_rows_may_be_dynamic() -> None:
    recorded = record_call("aten.linear.default", input=float32(BATCH, 7, 4), weight=normal(3, 4))
    assert recorded.convert(CONVERTERS).type.shape == (BATCH, 7, 3)
    assert [operator.kind for operator in recorded.operators] == [
        "linear.rows",
        "linear.linear",
        "linear.rows",
    ]


@settings(deadline=None, max_examples=200)
@given(
    st.tuples(size, size, size),
    st.sampled_from([1, -0.5, 2.0]),
    st.sampled_from([1, 0, 3.0]),
    st.integers(0, 5),
    st.booleans(),
    st.booleans(),
)
def test_addmm(
    sizes: tuple[int, int, int], alpha: float, beta: float, form: int, computed_sum: bool, computed: bool
) -> None:
    m, k, n = sizes
    added = normal(*[(n,), (1, n), (1,), (1, 1), (m, n), (m, 1)][form])
    if beta == 0:
        added[...] = np.nan
    x, other = normal(m, k), normal(k, n)
    recorded = record_call(
        "aten.addmm.default",
        self=float32(*added.shape) if computed_sum else added,
        mat1=float32(m, k),
        mat2=float32(k, n) if computed else other,
        alpha=alpha,
        beta=beta,
    )
    result = recorded.convert(CONVERTERS)
    expected = torch.addmm(*map(torch.from_numpy, (added, x, other)), alpha=alpha, beta=beta).numpy()
    inputs = {"self": added, "mat1": x, "mat2": other}
    assert result.type.shape == expected.shape
    np.testing.assert_allclose(run(recorded, result, inputs), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("overload", "second"), [("aten.mm.default", "mat2"), ("aten.matmul.default", "other")]
)
@pytest.mark.parametrize("constant", [False, True])
def test_products(overload: str, second: str, constant: bool) -> None:
    x, other = normal(3, 4), normal(4, 5)
    arguments = {"self": float32(3, 4), second: other if constant else float32(4, 5)}
    recorded = record_call(overload, **arguments)
    result = recorded.convert(CONVERTERS)
    assert type(recorded.operators[0]) is (Linear if constant else MatMul)
    np.testing.assert_allclose(
        run(recorded, result, {"self": x, second: other}), x @ other, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("leading", [(), (2,), (2, 3), (2, 1, 3, 2)])
def test_a_tensor_of_any_rank_by_a_constant_matrix(leading: tuple[int, ...]) -> None:
    x, other = normal(*leading, 4), normal(4, 5)
    recorded = record_call("aten.matmul.default", self=float32(*leading, 4), other=other)
    result = recorded.convert(CONVERTERS)
    assert result.type.shape == recorded.call.result_shape == (*leading, 5)
    found = run(recorded, result, {"self": x, "other": other})
    np.testing.assert_allclose(found, x @ other, rtol=1e-4, atol=1e-5)


X = float32(3, 4)
DECLINED: dict[str, tuple[str, dict[str, Any], str]] = {
    "batched product": ("aten.matmul.default", {"self": float32(2, 3, 4), "other": X}, "two matrices"),
    "sizes by a constant": (
        "aten.matmul.default",
        {"self": float32(2, 3, 4), "other": normal(3, 4)},
        "do not fit together",
    ),
    "sizes": ("aten.mm.default", {"self": X, "mat2": float32(3, 4)}, "do not fit together"),
    "dtypes": (
        "aten.mm.default",
        {"self": X, "mat2": tensor_type((4, 5), DType.float16)},
        "dtypes must agree",
    ),
    "integers": (
        "aten.linear.default",
        {"input": tensor_type((3, 4), DType.int64), "weight": np.ones((5, 4), int)},
        "floating point",
    ),
    "weight": ("aten.linear.default", {"input": X, "weight": float32(5)}, "must be a matrix"),
    "bias": (
        "aten.linear.default",
        {"input": X, "weight": normal(5, 4), "bias": normal(1)},
        "must have shape (5,)",
    ),
    "constant input": (
        "aten.linear.default",
        {"input": normal(3, 4), "weight": float32(5, 4)},
        "first matrix",
    ),
    "constant product": ("aten.mm.default", {"self": normal(3, 4), "mat2": float32(4, 5)}, "first matrix"),
    "factor": (
        "aten.addmm.default",
        {"self": normal(5), "mat1": X, "mat2": normal(4, 5), "beta": object()},
        "known",
    ),
    "dynamic columns": ("aten.mm.default", {"self": X, "mat2": float32(4, BATCH)}, "may be dynamic"),
}


@pytest.mark.parametrize("case", DECLINED)
def test_declined_with_a_reason(case: str) -> None:
    overload, arguments, reason = DECLINED[case]
    assert reason in record_call(overload, **arguments).decline(CONVERTERS)


@pytest.mark.parametrize(
    ("operator", "operands", "attributes"),
    [
        (Linear, [float32(2, 3, 4), float32(5, 4)], None),
        (Linear, [float32(3, 4), float32(5, 3)], None),
        (Linear, [float32(3, 4), float32(5, 4), float32(4)], None),
        (Linear, [float32(3, 4)], None),
        (MatMul, [float32(3, 4), float32(3, 4)], None),
        (MatMul, [float32(3, 4)], None),
        (Rows, [float32(3, 4)], RowsAttributes((5, 2))),
        (Transpose, [float32(3, 4, 5)], None),
    ],
)
def test_operands_that_do_not_fit(operator, operands, attributes) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(IRError, match=operator.kind):
        operator.infer(operands, attributes)
