"""Buffers that measured launchers are called with."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fx2ait_core.extend.contributions import KernelSource
from fx2ait_core.extend.problem import OperandSpec, Problem
from fx2ait_core.ir.dims import DimRange, symbol
from fx2ait_core.ir.dtypes import DType
from fx2ait_core.ir.operator import NO_ATTRIBUTES
from fx2ait_core.ir.pointwise import PointwiseProgram
from fx2ait_core.ir.types import tensor_type
from fx2ait_core.runtime.buffers import Buffers, RandomData
from fx2ait_core.target.target import Target

DATA = RandomData(torch.device("cpu"))
BATCH = symbol("batch")


@given(st.integers(1, 200_000), st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
def test_random_data_fills_everything_with_normal_numbers(count, dtype):
    room = torch.full((count + 1,), torch.nan, dtype=dtype)
    DATA.fill(room[:count])
    filled = room[:count].float()
    assert torch.isfinite(filled).all() and room[count].isnan()
    if count > 10_000:
        assert abs(filled.mean()) < 0.1 and 0.9 < filled.std() < 1.1
        assert filled.unique().numel() > 100


@pytest.mark.parametrize("shape", [(3,), (70_000,), (64, 3, 7, 7), (512, 512, 3, 3)])
def test_random_arrays_have_the_shape(shape):
    array = DATA.array(shape)
    assert array.shape == shape and array.dtype == np.float32 and np.isfinite(array).all()


@given(st.integers(1, 64), st.integers(1, 1 << 22))
def test_every_argument_is_aligned_and_sets_do_not_share_memory(batch, l2_bytes):
    operands = (
        OperandSpec("x", tensor_type((BATCH, 5), DType.float32)),
        OperandSpec("weight", tensor_type((5,), DType.float32), constant=True),
    )
    target = Target("cpu", "x", properties={"l2_bytes": l2_bytes})
    result = tensor_type((BATCH, 5), DType.float32)
    problem = Problem(
        "test.kind",
        NO_ATTRIBUTES,
        operands,
        PointwiseProgram(1),
        (),
        (result,),
        target,
        (("batch", DimRange(1, 64)),),
        (("batch", batch),),
    )
    source = KernelSource("", packings={1: lambda array: np.repeat(array, 3)}, workspace=BATCH * 4)
    buffers = Buffers(problem, source, DATA)
    addresses = list(buffers.arguments)
    assert 1 <= buffers.sets <= 8 and len(addresses) == 4 * buffers.sets
    assert all(address % 256 == 0 for address in addresses)
    own = [address for index, address in enumerate(addresses) if index % 4 != 3]
    assert len(set(own)) == len(own)
    assert len(set(addresses[3::4])) == 1, "the workspace belongs to the kernel, as in an engine"
