"""Dimensions and layouts against integers and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx2ait_core.ir.dims import DimRange, c_expression, element_count, evaluate, floor_div, symbol
from fx2ait_core.ir.layouts import Layout, channels_last, row_major

batch = symbol("batch")


@given(st.integers(1, 500), st.integers(1, 64), st.integers(1, 9))
def test_expressions_evaluate_like_integers(size: int, factor: int, divisor: int) -> None:
    expression = floor_div(batch * factor + 3, divisor)
    assert evaluate(expression, {"batch": size}) == (size * factor + 3) // divisor
    assert (
        eval(c_expression(expression).replace("/", "//"), {"batch": size}) == (size * factor + 3) // divisor
    )


def test_numbers_stay_integers() -> None:
    assert element_count((batch, 3, 4)) == 12 * batch
    assert element_count(()) == 1
    assert isinstance(floor_div(batch - batch + 7, 2), int)


@pytest.mark.parametrize("bounds", [(0, 4), (3, 2), (-1, -1)])
def test_ranges_are_checked(bounds: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="1 <= min <= max"):
        DimRange(*bounds)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.randoms())
def test_strides_are_those_of_a_transposed_array(shape: list[int], random: object) -> None:
    order = list(range(len(shape)))
    random.shuffle(order)  # type: ignore[attr-defined]
    layout = Layout(tuple(order))
    stored = np.zeros([shape[axis] for axis in order], np.int8)
    logical = stored.transpose([order.index(axis) for axis in range(len(shape))])
    expected = [s for s, n in zip(logical.strides, shape, strict=True) if n > 1]
    assert [s for s, n in zip(layout.strides(shape), shape, strict=True) if n > 1] == expected


def test_channels_last_is_nhwc() -> None:
    assert channels_last(4).order == (0, 2, 3, 1)
    assert channels_last(2) == row_major(2)
    assert str(channels_last(4)) == "channels_last"


def test_a_permuted_view_keeps_its_memory() -> None:
    nhwc_as_nchw = row_major(4).permuted((0, 3, 1, 2))
    assert nhwc_as_nchw == channels_last(4)


def test_a_layout_is_a_permutation() -> None:
    with pytest.raises(ValueError, match="permutation"):
        Layout((0, 2))
