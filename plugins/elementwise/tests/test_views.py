"""Shape operators: shapes as PyTorch's, and views that describe the same memory in every layout."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from fx2ait_elementwise.concat_converters import CONCAT_CONVERTERS
from fx2ait_elementwise.expand_converters import EXPAND_CONVERTERS
from fx2ait_elementwise.operators import (
    Concat,
    ConcatAttributes,
    Expand,
    ExpandAttributes,
    Permute,
    PermuteAttributes,
    Reshape,
    ReshapeAttributes,
    Squeeze,
    SqueezeAttributes,
    Unsqueeze,
    UnsqueezeAttributes,
)
from fx2ait_elementwise.shape_converters import SHAPE_CONVERTERS
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import Symbol

from fx2ait_core.sdk import (
    Attributes,
    Constant,
    DType,
    IRError,
    Layout,
    Operator,
    View,
    channels_last,
    row_major,
    tensor_type,
)
from fx2ait_core.testing.calls import RecordedCall, float32, record_call

CONVERTERS = [*SHAPE_CONVERTERS, *CONCAT_CONVERTERS, *EXPAND_CONVERTERS]
BATCH = Symbol("batch", integer=True, positive=True)
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=5)


def in_memory(array: np.ndarray, layout: Layout) -> np.ndarray:
    """The elements of a logical array in the order in which ``layout`` stores them."""
    return np.transpose(array, layout.order).reshape(-1)


def from_memory(elements: np.ndarray, shape: tuple[int, ...], layout: Layout) -> np.ndarray:
    stored = elements.reshape([shape[axis] for axis in layout.order])
    return np.transpose(stored, np.argsort(layout.order)) if shape else stored.reshape(())


def evaluate(recorded: RecordedCall, result: Any, array: np.ndarray, layout: Layout) -> np.ndarray:
    """The result of a chain of views, by reinterpreting memory only."""
    if result is recorded.call["self"]:
        return array
    type = recorded.call["self"].type.with_layout(layout)
    elements = in_memory(array, layout)
    for operator in recorded.operators:
        view = operator.trait(View)
        assert view is not None
        if view.requires_row_major:
            elements = in_memory(from_memory(elements, type.shape, type.layout), row_major(type.rank))
            type = type.with_layout(row_major(type.rank))
            layout = row_major(operator.result.type.rank)
        else:
            layout = operator.result_layouts([type], operator.attributes)
        type = operator.result.type.with_layout(layout)
    assert operator.result is result
    return from_memory(elements, type.shape, type.layout)


def check(overload: str, array: np.ndarray, **arguments: Any) -> None:
    """A converted view gives PyTorch's values for every layout of its operand."""
    _, name, variant = overload.split(".")
    operation = getattr(getattr(torch.ops.aten, name), variant)
    expected = operation(self=torch.from_numpy(array.copy()), **arguments).numpy()
    for order in permutations(range(array.ndim)):
        recorded = record_call(overload, self=float32(*array.shape), **arguments)
        result = recorded.convert(CONVERTERS)
        assert result.type.shape == expected.shape
        np.testing.assert_array_equal(evaluate(recorded, result, array, Layout(order)), expected)


def numbered(shape: list[int]) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@settings(deadline=None, max_examples=60)
@given(shapes, st.data())
def test_permutations(shape: list[int], data: st.DataObject) -> None:
    rank = len(shape)
    dims = data.draw(st.permutations(range(rank)))
    signed = [dim - rank * data.draw(st.booleans()) for dim in dims]
    check("aten.permute.default", numbered(shape), dims=signed)
    first, second = (data.draw(st.integers(-rank, rank - 1)) for _ in range(2))
    for name in ("transpose.int", "transpose_.default", "swapdims.default"):
        check(f"aten.{name}", numbered(shape), dim0=first, dim1=second)
    check("aten.swapaxes.default", numbered(shape), axis0=first, axis1=second)
    count = data.draw(st.integers(0, rank))
    sources, destinations = (
        [dim - rank * data.draw(st.booleans()) for dim in data.draw(st.permutations(range(rank)))[:count]]
        for _ in range(2)
    )
    check("aten.movedim.intlist", numbered(shape), source=sources, destination=destinations)
    check("aten.moveaxis.int", numbered(shape), source=first, destination=second)
    if rank <= 2:
        check("aten.t.default", numbered(shape))
        check("aten.numpy_T.default", numbered(shape))
    if rank >= 2:
        check("aten.mT.default", numbered(shape))


@settings(deadline=None, max_examples=60)
@given(shapes, st.data())
def test_dimensions_of_size_1(shape: list[int], data: st.DataObject) -> None:
    rank = len(shape)
    array = numbered(shape)
    check("aten.unsqueeze.default", array, dim=data.draw(st.integers(-rank - 1, rank)))
    check("aten.squeeze.default", array)
    check("aten.squeeze.dim", array, dim=data.draw(st.integers(-rank, rank - 1)))
    dims = data.draw(st.lists(st.integers(0, rank - 1), unique=True))
    check("aten.squeeze.dims", array, dim=dims)
    check("aten.squeeze_.dims", array, dim=dims)
    check("aten.unsqueeze_.default", array, dim=0)


@settings(deadline=None, max_examples=60)
@given(shapes, st.data())
def test_reshapes(shape: list[int], data: st.DataObject) -> None:
    wanted = list(data.draw(st.permutations([*shape, *data.draw(st.sampled_from([[], [1], [1, 1]]))])))
    if data.draw(st.booleans()):
        wanted[data.draw(st.integers(0, len(wanted) - 1))] = -1
    array = numbered(shape)
    check("aten.reshape.default", array, shape=wanted)
    check("aten.view.default", array, size=wanted)
    check("aten._unsafe_view.default", array, size=wanted)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    check("aten.unflatten.int", array, dim=axis, sizes=[1, -1, 1])
    start = data.draw(st.integers(0, len(shape) - 1))
    end = data.draw(st.integers(start, len(shape) - 1))
    check("aten.flatten.using_ints", array, start_dim=start, end_dim=end - len(shape))


@pytest.mark.parametrize(
    ("overload", "arguments"),
    [
        ("aten.permute.default", {"dims": [2, 0, 1]}),
        ("aten.transpose.int", {"dim0": 0, "dim1": 2}),
        ("aten.view.default", {"size": [6, -1]}),
        ("aten.view.default", {"size": [1, 2, 1, 1, 3, 1]}),
        ("aten.unsqueeze.default", {"dim": 1}),
        ("aten.squeeze.default", {}),
        ("aten.flatten.using_ints", {}),
    ],
)
def test_views_of_constants_are_constants(overload: str, arguments: dict[str, Any]) -> None:
    array = numbered([2, 1, 3])
    recorded = record_call(overload, self=array, **arguments)
    result = recorded.convert(CONVERTERS)
    _, name, variant = overload.split(".")
    expected = getattr(getattr(torch.ops.aten, name), variant)(self=torch.from_numpy(array), **arguments)
    assert isinstance(result, Constant)
    np.testing.assert_array_equal(result.array, expected.numpy())
    assert recorded.operators == []


@pytest.mark.parametrize("overload", ["aten.contiguous.default", "aten.clone.default"])
def test_copies_are_identities(overload: str) -> None:
    recorded = record_call(overload, self=float32(2, 3))
    assert recorded.convert(CONVERTERS) is recorded.call["self"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([BATCH, -1], (BATCH, 392)),
        ([-1, 392], (BATCH, 392)),
        ([-1], (392 * BATCH,)),
        ([-1, 8], (49 * BATCH, 8)),
        ([BATCH * 2, 4, 49], (2 * BATCH, 4, 49)),
    ],
)
def test_a_dynamic_batch_is_reshaped(wanted: list[Any], expected: tuple[Any, ...]) -> None:
    recorded = record_call("aten.view.default", self=float32(BATCH, 8, 7, 7), size=wanted)
    assert recorded.convert(CONVERTERS).type.shape == expected


def test_flattening_pooled_pixels_needs_no_order() -> None:
    recorded = record_call("aten.flatten.using_ints", self=float32(BATCH, 512, 1, 1), start_dim=1, end_dim=-1)
    assert recorded.convert(CONVERTERS).type.shape == (BATCH, 512)
    assert [operator.kind for operator in recorded.operators] == ["elementwise.squeeze"]
    pooled = float32(BATCH, 512, 1, 1).with_layout(channels_last(4))
    assert Squeeze.result_layouts([pooled], SqueezeAttributes((2, 3))) == row_major(2)


@pytest.mark.parametrize("overload", ["aten.view_as.default", "aten.reshape_as.default"])
def test_the_shape_of_another_tensor(overload: str) -> None:
    recorded = record_call(overload, self=float32(BATCH, 8, 7, 7), other=float32(BATCH, 4, 98))
    assert recorded.convert(CONVERTERS).type.shape == (BATCH, 4, 98)


@pytest.mark.parametrize("overload", ["aten.cat.default", "aten.concat.default", "aten.concatenate.default"])
def test_concatenation(overload: str) -> None:
    tensors = [float32(2, 3, 4), float32(2, 5, 4), float32(0)]
    recorded = record_call(overload, tensors=tensors, dim=-2)
    assert recorded.convert(CONVERTERS).type.shape == recorded.call.result_shape == (2, 8, 4)


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
def test_stacking_is_concatenation_along_a_new_dimension(dim: int) -> None:
    recorded = record_call("aten.stack.default", tensors=[float32(2, 3)] * 3, dim=dim)
    assert recorded.convert(CONVERTERS).type.shape == recorded.call.result_shape
    assert [o.kind for o in recorded.operators] == ["elementwise.unsqueeze"] * 3 + ["elementwise.concat"]


def test_expansion() -> None:
    recorded = record_call("aten.expand.default", self=float32(3, 1, 5), size=[2, -1, 4, 5])
    assert recorded.convert(CONVERTERS).type.shape == recorded.call.result_shape == (2, 3, 4, 5)
    recorded = record_call("aten.expand.default", self=float32(3, 1), size=[-1, 1])
    assert recorded.convert(CONVERTERS) is recorded.call["self"], "nothing is repeated"


def test_an_expanded_constant_is_a_constant() -> None:
    recorded = record_call("aten.expand.default", self=numbered([2, 1]), size=[3, 2, 4])
    result = recorded.convert(CONVERTERS)
    assert isinstance(result, Constant) and recorded.operators == []
    np.testing.assert_array_equal(result.array, np.broadcast_to(numbered([2, 1]), (3, 2, 4)))


def test_concatenation_along_a_dynamic_dimension() -> None:
    recorded = record_call("aten.cat.default", tensors=[float32(BATCH, 3), float32(2, 3), float32(BATCH, 3)])
    assert recorded.convert(CONVERTERS).type.shape == (2 * BATCH + 2, 3)


def test_concatenation_of_one_is_the_identity() -> None:
    recorded = record_call("aten.cat.default", tensors=[float32(2, 3)], dim=0)
    assert recorded.convert(CONVERTERS) is recorded.call["tensors"][0]


@pytest.mark.parametrize(
    ("overload", "arguments", "reason"),
    [
        ("aten.view.default", {"self": float32(BATCH, 3), "size": [-1, 2]}, "for all sizes"),
        ("aten.view.default", {"self": float32(2, 3), "size": [-1, -1]}, "only one dimension"),
        ("aten.view.default", {"self": float32(2, 3), "size": [7]}, "another number of elements"),
        ("aten.view.default", {"self": float32(2, 3), "size": [0, -1]}, "ambiguous"),
        ("aten.flatten.using_ints", {"self": float32(2, 3), "start_dim": 1, "end_dim": 0}, "comes after"),
        ("aten.squeeze.dim", {"self": float32(BATCH, 3), "dim": 0}, "depends on its size"),
        (
            "aten.cat.default",
            {"tensors": [float32(2, 3), float32(2, 4, 1)], "dim": 0},
            "more than dimension 0",
        ),
        (
            "aten.cat.default",
            {"tensors": [float32(2), tensor_type((2,), DType.int64)], "dim": 0},
            "must agree",
        ),
        ("aten.stack.default", {"tensors": [float32(2), float32(3)]}, "must be of one type"),
        ("aten.unflatten.int", {"self": float32(2, 3), "dim": 1, "sizes": [2, -1]}, "cannot be divided"),
        ("aten.view_as.default", {"self": float32(2, 3), "other": float32(5)}, "another number of elements"),
        (
            "aten.expand.default",
            {"self": tensor_type((2, 1), DType.int64), "size": [2, 4]},
            "floating point only",
        ),
    ],
)
def test_declined_with_a_reason(overload: str, arguments: dict[str, Any], reason: str) -> None:
    assert reason in record_call(overload, **arguments).decline(CONVERTERS)


@pytest.mark.parametrize(
    ("operator", "operands", "attributes"),
    [
        (Reshape, [float32(2, 3)], ReshapeAttributes((5,))),
        (Permute, [float32(2, 3)], PermuteAttributes((0, 0))),
        (Unsqueeze, [float32(2, 3)], UnsqueezeAttributes(3)),
        (Squeeze, [float32(2, 1)], SqueezeAttributes((0,))),
        (Squeeze, [float32(1, 1)], SqueezeAttributes((1, 0))),
        (Expand, [float32(2, 3)], ExpandAttributes((2, 4))),
        (Expand, [float32(2, 3)], ExpandAttributes((3,))),
        (Concat, [], ConcatAttributes(0)),
        (Concat, [float32(2)], ConcatAttributes(1)),
    ],
)
def test_operands_that_do_not_fit(
    operator: type[Operator], operands: list[Any], attributes: Attributes
) -> None:
    with pytest.raises(IRError, match=operator.kind):
        operator.infer(operands, attributes)
