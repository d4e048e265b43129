"""Pointwise programs, copies and conversions on the CPU against NumPy; their CUDA sources compile."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fx2ait_core.extend.problem import OperandSpec, Problem
from fx2ait_core.ir.dims import DimRange, evaluate, symbol
from fx2ait_core.ir.dtypes import DType
from fx2ait_core.ir.fused import FusedPointwise, ProgramAttributes
from fx2ait_core.ir.layouts import Layout, channels_last, row_major
from fx2ait_core.ir.pointwise import PointwiseProgram, PointwiseStep
from fx2ait_core.ir.types import tensor_type
from fx2ait_core.settings import Settings
from fx2ait_core.target.cpu.backend import CpuBackend
from fx2ait_core.target.cpu.pointwise import KERNELS
from fx2ait_core.target.cuda import pointwise as cuda_pointwise
from fx2ait_core.testing.launchers import (
    LauncherLibrary,
    cuda_backend,
    cuda_target,
    launchers,
    missing_compiler,
    retargeted,
)

TARGET = CpuBackend().detect(None, Settings())
BATCH = symbol("index")  # a name that generated code might use itself
NCHW, NHWC = row_major(4), channels_last(4)
F32, F16, BF16 = DType.float32, DType.float16, DType.bfloat16

RELU = PointwiseProgram(1, (PointwiseStep("test.relu", "fx::maximum({0}, 0.0f)", (0,)),))
MULTIPLY_ADD = PointwiseProgram(
    3, (PointwiseStep("test.mul", "{0} * {1}", (0, 1)), PointwiseStep("test.add", "{0} + {1}", (3, 2)))
)
REFERENCES = {
    PointwiseProgram(1): lambda x: x,
    RELU: lambda x: np.maximum(x, 0),
    MULTIPLY_ADD: lambda x, y, z: x * y + z,
}


def problem(program, result, *operands, external=()):
    specs = tuple(
        OperandSpec(f"operand{i}", operand, external=i in external) for i, operand in enumerate(operands)
    )
    return Problem(
        FusedPointwise.kind,
        ProgramAttributes(program),
        specs,
        PointwiseProgram(1),
        (),
        (result,),
        TARGET,
        (("index", DimRange(1, 9)),),
        (("index", 4),),
    )


def image(channels, height, width, layout=NCHW, dtype=F32, batch=BATCH):
    return tensor_type((batch, channels, height, width), dtype, layout)


PROBLEMS = [
    problem(RELU, image(64, 7, 7), image(64, 7, 7)),
    problem(RELU, image(3, 5, 7, NHWC), image(3, 5, 7, NHWC)),
    problem(MULTIPLY_ADD, image(24, 5, 6, NHWC), image(24, 5, 6, NHWC), tensor_type((24, 1, 1), F32),
            tensor_type((), F32)),
    problem(MULTIPLY_ADD, image(24, 5, 6), image(24, 5, 6), tensor_type((24, 1, 1), F32),
            tensor_type((1, 24, 1, 6), F32, Layout((0, 3, 1, 2)))),
    problem(MULTIPLY_ADD, image(24, 5, 6), image(24, 5, 6, NHWC), image(24, 5, 6),
            image(24, 5, 6, NHWC, BF16)),
    problem(MULTIPLY_ADD, tensor_type((7, 5, 6), F32), tensor_type((5, 6), F32), tensor_type((7, 1, 6), F32),
            tensor_type((7, 5, 1), F32)),
    problem(PointwiseProgram(1), image(37, 11, 13, NHWC), image(37, 11, 13)),
    problem(PointwiseProgram(1), image(3, 11, 13, NHWC), image(3, 11, 13)),
    problem(PointwiseProgram(1), image(37, 11, 13, NCHW, F16), image(37, 11, 13, NHWC, F32)),
    problem(PointwiseProgram(1), image(5, 3, 2, NCHW, DType.int64), image(5, 3, 2, NHWC, DType.int64)),
    problem(PointwiseProgram(1), tensor_type((BATCH * 33,), DType.bool),
            tensor_type((BATCH * 33,), DType.bool)),
    problem(PointwiseProgram(1), tensor_type((3, BATCH), F32), tensor_type((3, BATCH), DType.int64)),
    problem(PointwiseProgram(1), tensor_type((BATCH, 40), F32, Layout((1, 0))),
            tensor_type((BATCH, 40), F32)),
    problem(PointwiseProgram(1), tensor_type((), F32), tensor_type((), F32)),
    problem(PointwiseProgram(1), image(3, 11, 13, NHWC), image(3, 11, 13), external=(0,)),
    problem(PointwiseProgram(1), image(19, 11, 13, NHWC), image(19, 11, 13), external=(0,)),
    problem(RELU, image(19, 11, 13, NCHW), image(19, 11, 13), external=(0,)),
    problem(MULTIPLY_ADD, image(9, 11, 13, NHWC), image(9, 11, 13), tensor_type((9, 1, 1), F32),
            image(9, 11, 13), external=(0, 2)),
    problem(MULTIPLY_ADD, image(9, 11, 13), image(9, 11, 13, NHWC), tensor_type((9, 1, 1), F32),
            image(9, 11, 13), external=(2,)),
    problem(RELU, tensor_type((BATCH, 700), F32), tensor_type((700,), F32), external=(0,)),
]  # fmt: skip
ENTRIES = list(itertools.chain.from_iterable(launchers(KERNELS, p) for p in PROBLEMS))

pytestmark = pytest.mark.xdist_group("pointwise_kernels")  # compile once


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return LauncherLibrary(tmp_path_factory.mktemp("pointwise"), CpuBackend(), ENTRIES, Settings())


def sample(spec, batch, random):
    shape = [evaluate(dim, {"index": batch}) for dim in spec.type.shape]
    if not spec.external:
        if not spec.type.dtype.is_floating:
            return random.integers(0, 2 if spec.type.dtype is DType.bool else 2**40, shape).astype(
                spec.type.dtype.numpy
            )
        return random.standard_normal(shape).astype(spec.type.dtype.numpy)
    dtype = random.choice([F32, F16, BF16]).numpy
    order = random.permutation(len(shape)) if random.random() < 0.5 else np.arange(len(shape))
    if len(shape) == 4 and random.random() < 0.3:
        order = np.array(NHWC.order)
    step = int(random.integers(1, 3))
    memory = random.standard_normal([shape[a] * step for a in order]).astype(dtype)
    strided = memory[tuple(slice(None, None, step) for _ in order)]
    return np.transpose(strided, np.argsort(order))


@settings(max_examples=150, deadline=None)
@given(index=st.integers(0, len(ENTRIES) - 1), batch=st.integers(1, 9), seed=st.integers(0, 2**32 - 1))
def test_programs_agree_with_numpy(library, index, batch, seed):
    entry = ENTRIES[index]
    random = np.random.default_rng(seed)
    operands = [sample(spec, batch, random) for spec in entry.problem.operands]
    (found,) = library.compute(index, operands, {"index": batch})
    reference = REFERENCES[entry.problem.attributes.program]
    result = entry.problem.result
    exact = [np.asarray(o, np.float32) for o in operands] if result.dtype.is_floating else operands
    expected = np.broadcast_to(np.asarray(reference(*exact)), found.shape)
    if result.dtype.is_floating:
        np.testing.assert_allclose(
            found.astype(np.float32), expected.astype(result.dtype.numpy).astype(np.float32), 1e-6, 1e-6
        )
    else:
        np.testing.assert_array_equal(found, expected)


def test_declines_say_why():
    (kernel,) = KERNELS
    integers = tensor_type((4,), DType.int64)
    reason = kernel.supports(problem(RELU, tensor_type((4,), F32), integers))
    assert reason is not None and "operand0 is int64" in reason.reason
    reason = kernel.supports(problem(RELU, integers, integers))
    assert reason is not None and "not stored as int64" in reason.reason
    reason = kernel.supports(problem(MULTIPLY_ADD, tensor_type((4,), F32), tensor_type((4,), F32)))
    assert reason is not None and "3 operands and 1" in reason.reason


def test_an_external_operand_must_be_floating(library):
    index = next(i for i, e in enumerate(ENTRIES) if e.problem.operands[0].external)
    with pytest.raises(RuntimeError, match="must be float32, float16 or bfloat16"):
        library.compute(index, [np.zeros((1, 3, 11, 13), np.int32)], {"index": 1})


def test_a_layout_conversion_offers_tiles_and_plain_loops():
    (kernel,) = KERNELS
    crossing = problem(PointwiseProgram(1), image(37, 11, 13, NHWC), image(37, 11, 13))
    assert [c.config.tiled for c in kernel.candidates(crossing)] == [True, False]
    assert [c.config.tiled for c in kernel.candidates(PROBLEMS[0])] == [False]


@pytest.mark.nvcc
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_cuda_sources_compile_without_warnings(tmp_path, arch):
    backend = cuda_backend()
    if reason := missing_compiler(backend):
        pytest.skip(reason)
    target = cuda_target(arch)
    found = [
        launchers(cuda_pointwise.KERNELS, retargeted(p, target, DType.float16))[0] for p in PROBLEMS[::4]
    ]
    LauncherLibrary(tmp_path, backend, found)
