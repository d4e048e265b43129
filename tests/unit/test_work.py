"""What a launch has to do at least: positions that windows read, operations, bytes, and formulas as text."""

import random

import numpy as np
import pytest
import torch
from fx2ait_conv.operators import Conv2d, Conv2dAttributes
from fx2ait_linear.operators import Linear, MatMul
from fx2ait_pooling.operators import AdaptiveAvgPool2d, AdaptivePoolAttributes, MaxPool2d, Pool2dAttributes
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from fx2ait_core.ir.dims import evaluate, floor_div, symbol
from fx2ait_core.ir.dtypes import DType
from fx2ait_core.ir.formula import evaluate_formula
from fx2ait_core.ir.fused import FusedPointwise, ProgramAttributes
from fx2ait_core.ir.layouts import channels_last
from fx2ait_core.ir.pointwise import PointwiseProgram
from fx2ait_core.ir.positions import positions_read
from fx2ait_core.ir.types import tensor_type
from fx2ait_core.ir.value import Constant, Value
from fx2ait_core.plan.work import work_of

BATCH = symbol("batch")


def value(*shape, dtype=DType.float16):
    return Value("x", tensor_type(shape, dtype, channels_last(4) if len(shape) == 4 else None))


@settings(deadline=None)
@given(st.data())
def test_positions_are_those_that_a_gradient_reaches(data):
    window, stride, dilation = (data.draw(st.integers(1, 5)) for _ in range(3))
    padding = data.draw(st.integers(0, 4))
    size = data.draw(st.integers(max(1, dilation * (window - 1) + 1 - 2 * padding), 24))
    x = torch.ones(1, 1, size, requires_grad=True)
    answer = torch.nn.functional.conv1d(
        x, torch.ones(1, 1, window), stride=stride, padding=padding, dilation=dilation
    )
    answer.sum().backward()
    read = positions_read(size, answer.shape[-1], window, stride=stride, dilation=dilation, padding=padding)
    assert read == int((x.grad != 0).sum())


def test_a_dynamic_axis_counts_in_full():
    assert positions_read(BATCH, BATCH, 1, stride=2) == BATCH


@settings(deadline=None)
@given(st.data())
def test_operations_are_those_that_pytorch_counts(data):
    groups, stride, dilation, padding = (data.draw(st.integers(1, 3)) for _ in range(4))
    n, i, o, k = (data.draw(st.integers(1, 4)) for _ in range(4))
    size = data.draw(st.integers(dilation * (k - 1) + 1, 16))
    x, w = torch.empty(n, i * groups, size, size), torch.empty(o * groups, i, k, k)
    with FlopCounterMode(display=False) as counter:
        torch.nn.functional.conv2d(x, w, None, stride, padding, dilation, groups)
    attributes = Conv2dAttributes((stride,) * 2, (padding,) * 4, (dilation,) * 2, groups)
    made = Conv2d([value(*x.shape), value(*w.shape)], attributes)
    assert work_of(made).flops == counter.get_total_flops()


def test_the_operations_of_a_product():
    assert work_of(Linear([value(BATCH, 512), value(1000, 512)])).flops == 2 * BATCH * 512 * 1000
    assert work_of(MatMul([value(3, 4), value(4, 5)])).flops == 2 * 3 * 4 * 5


def test_the_work_of_a_layer_with_its_epilogue():
    weight = Constant("w", np.zeros((128, 64, 1, 1), np.float32)).stored_as(DType.float16)
    made = Conv2d([value(BATCH, 64, 56, 56), weight], Conv2dAttributes((2, 2)))
    made.epilogue_operands = [value(128, dtype=DType.float32), value(BATCH, 128, 28, 28)]
    work = work_of(made)
    assert work.dtype == DType.float16
    assert evaluate(work.flops, {"batch": 3}) == 3 * 2 * 64 * 128 * 28 * 28
    read = 3 * 64 * 28 * 28 * 2 + 64 * 128 * 2 + 128 * 4  # a quarter of the input
    assert evaluate(work.bytes, {"batch": 3}) == read + 2 * (3 * 128 * 28 * 28 * 2)


def test_a_tensor_that_is_read_twice_moves_once():
    x = value(8, 8, dtype=DType.float32)
    assert work_of(MatMul([x, x])).bytes == 2 * 64 * 4
    view = value(8, 8, dtype=DType.float32)
    assert work_of(MatMul([x, view])).bytes == 3 * 64 * 4
    assert work_of(MatMul([x, view]), {view: x, x: x}.__getitem__).bytes == 2 * 64 * 4


def test_inputs_of_the_engine_are_counted_in_elements():
    x, weight = value(BATCH, 8, 9, 9, dtype=DType.float32), value(4, 8, 1, 1)
    made = Conv2d([x, weight], Conv2dAttributes((2, 2)))
    work = work_of(made, inputs={x: 3})
    assert work.inputs == ((3, BATCH * 8 * 25),)
    assert work.bytes == BATCH * 8 * 25 * 4 + 4 * 8 * 2 + BATCH * 4 * 25 * 4


def test_an_operator_that_says_nothing_moves_bytes_only():
    work = work_of(FusedPointwise([value(BATCH, 8)], ProgramAttributes(PointwiseProgram(1))))
    assert (work.flops, work.bytes, work.dtype) == (0, 2 * BATCH * 8 * 2, DType.float16)


def test_pooling_reads_its_windows():
    attributes = Pool2dAttributes((1, 1), (2, 2), (0, 0), (1, 1), (4, 4))
    work = work_of(MaxPool2d([value(2, 8, 8, 8)], attributes))
    assert (work.flops, work.bytes) == (2 * 8 * 16, 2 * (2 * 8 * 16 * 2))
    pooled = work_of(AdaptiveAvgPool2d([value(2, 8, 7, 7)], AdaptivePoolAttributes((1, 1))))
    assert (pooled.flops, pooled.bytes) == (2 * 8 * 49, 2 * 8 * 50 * 2)


@given(st.integers(1, 1000), st.integers(1, 50))
def test_formulas_read_what_dims_write(size, divisor):
    dims = [7, BATCH, 3 * BATCH**2 + BATCH - 5, floor_div(BATCH + 3, divisor) * 4, -BATCH]
    for dim in dims:
        text = dim if isinstance(dim, int) else str(dim)
        assert evaluate_formula(text, {"batch": size}) == evaluate(dim, {"batch": size})


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "size",
        "batch.real",
        "2.5",
        "batch[0]",
        "(",
        "9**9**9",
        "batch/0",
        "'a'",
        "floor()",
    ],
)
def test_a_formula_runs_no_code(text):
    with pytest.raises(ValueError, match=r"no (formula|integer arithmetic)"):
        evaluate_formula(text, {"batch": random.randint(1, 9)})
