"""Concatenation's CPU kernel on hand-made problems against NumPy; its CUDA source compiles."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from fx2ait_elementwise.cpu import KERNELS
from fx2ait_elementwise.cuda import KERNELS as CUDA_KERNELS
from fx2ait_elementwise.operators import Concat, ConcatAttributes
from hypothesis import given, settings
from hypothesis import strategies as st

from fx2ait_core.sdk import (
    DimRange,
    DType,
    Layout,
    OperandSpec,
    PointwiseProgram,
    Problem,
    channels_last,
    tensor_type,
)
from fx2ait_core.testing.launchers import (
    LauncherLibrary,
    cpu_backend,
    cpu_target,
    cuda_backend,
    cuda_target,
    dynamic_dim,
    launchers,
    missing_compiler,
    retargeted,
    size_of,
)

PIECES = dynamic_dim("pieces")
F32, NHWC = DType.float32, channels_last(4)


def problem(axis, *shapes, layout=None, dtype=F32):
    types = [tensor_type(shape, dtype, layout) for shape in shapes]
    (result,) = Concat.infer(types, ConcatAttributes(axis))
    specs = tuple(OperandSpec(f"input{i}", type) for i, type in enumerate(types))
    return Problem(
        Concat.kind, ConcatAttributes(axis), specs, PointwiseProgram(1), (),
        (replace(result, layout=types[0].layout),), cpu_target(),
        (("pieces", DimRange(1, 7)),), (("pieces", 2),)
    )  # fmt: skip


PROBLEMS = [
    problem(1, (PIECES, 16, 5, 6), (PIECES, 8, 5, 6), layout=NHWC),
    problem(1, (PIECES, 3, 5, 6), (PIECES, 8, 5, 6), (PIECES, 1, 5, 6)),
    problem(0, (PIECES, 70), (3, 70), (PIECES, 70)),
    problem(3, (2, 5, 6, PIECES), (2, 5, 6, 4), layout=NHWC),
    problem(0, (PIECES,), (4,), dtype=DType.int64),
    problem(1, (3, 100_000), (3, 5), dtype=DType.bool),
    problem(1, (4, PIECES, 3), (4, 2, 3), layout=Layout((2, 0, 1)), dtype=DType.float16),
    problem(0, (5, PIECES)),
]
ENTRIES = list(itertools.chain.from_iterable(launchers(KERNELS, p) for p in PROBLEMS))

pytestmark = pytest.mark.xdist_group("concat_kernels")  # compile once


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return LauncherLibrary(tmp_path_factory.mktemp("concat"), cpu_backend(), ENTRIES)


@settings(max_examples=80, deadline=None)
@given(index=st.integers(0, len(ENTRIES) - 1), pieces=st.integers(1, 7), seed=st.integers(0, 2**32 - 1))
def test_concatenations_agree_with_numpy(library, index, pieces, seed):
    given_problem = ENTRIES[index].problem
    random = np.random.default_rng(seed)
    sizes = {"pieces": pieces}
    operands = [
        (random.standard_normal(size_of(spec.type.shape, sizes)) * 9).astype(spec.type.dtype.numpy)
        for spec in given_problem.operands
    ]
    (found,) = library.compute(index, operands, sizes)
    np.testing.assert_array_equal(found, np.concatenate(operands, given_problem.attributes.axis))


def test_declines_say_why():
    (kernel,) = KERNELS
    given_problem = PROBLEMS[0]
    other = replace(given_problem.operands[0], type=tensor_type((PIECES, 16, 5, 6), F32))
    changed = replace(given_problem, operands=(other, given_problem.operands[1]))
    assert "differ in layout" in kernel.supports(changed).reason
    external = replace(given_problem.operands[0], external=True)
    changed = replace(given_problem, operands=(external, given_problem.operands[1]))
    assert "is external" in kernel.supports(changed).reason


@pytest.mark.nvcc
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_cuda_sources_compile_without_warnings(tmp_path, arch):
    backend = cuda_backend()
    if reason := missing_compiler(backend):
        pytest.skip(reason)
    target = cuda_target(arch)
    found = [
        launchers(CUDA_KERNELS, retargeted(p, target, DType.float16))[0] for p in (PROBLEMS[0], PROBLEMS[5])
    ]
    LauncherLibrary(tmp_path, backend, found)
