"""The matrix products' CPU kernels on hand-made problems against PyTorch; their CUDA sources compile."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from fx2ait_linear.cpu import KERNELS
from fx2ait_linear.cuda import KERNELS as CUDA_KERNELS
from fx2ait_linear.operators import Linear, MatMul
from hypothesis import given, settings
from hypothesis import strategies as st

from fx2ait_core.sdk import (
    DimRange,
    DType,
    OperandSpec,
    PointwiseProgram,
    PointwiseStep,
    Problem,
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
)

ROWS = dynamic_dim("rows")
SYMBOLS = (("rows", DimRange(1, 200)),)
F32 = DType.float32
ADD_RELU = PointwiseProgram(
    2, (PointwiseStep("t.add", "{0} + {1}", (0, 1)), PointwiseStep("t.relu", "fx::maximum({0}, 0.0f)", (2,)))
)


def problem(kind, k, n, *, vector=False, external=False, epilogue=None, dtype=F32):
    operator = Linear if kind == "linear" else MatMul
    source = tensor_type((k,) if vector else (ROWS, k), F32)
    other = tensor_type((n, k) if kind == "linear" else (k, n), F32)
    (result,) = operator.infer([source, other], None)
    extra = {"channel": tensor_type((n,), F32), "element": result}.get(epilogue)
    return Problem(
        operator.kind,
        None,
        (
            OperandSpec("input", source, external=external),
            OperandSpec("weight" if kind == "linear" else "other", other, constant=kind == "linear"),
        ),
        ADD_RELU if extra else PointwiseProgram(1),
        (OperandSpec("extra", extra),) if extra else (),
        (result.with_dtype(dtype),),
        cpu_target(),
        SYMBOLS,
        (("rows", 4),),
    )


PROBLEMS = [
    problem("linear", 512, 1000, epilogue="channel"),
    problem("linear", 1, 1),
    problem("linear", 700, 33, epilogue="element"),
    problem("linear", 1300, 64, dtype=DType.float16),
    problem("linear", 90, 47, external=True, epilogue="channel"),
    problem("linear", 600, 21, external=True, vector=True),
    problem("linear", 37, 5, vector=True, epilogue="element"),
    problem("matmul", 530, 70, epilogue="channel"),
    problem("matmul", 17, 64, external=True),
    problem("matmul", 5, 3),
]
ENTRIES = list(itertools.chain.from_iterable(launchers(KERNELS, p) for p in PROBLEMS))

pytestmark = pytest.mark.xdist_group("linear_kernels")  # compile once


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return LauncherLibrary(tmp_path_factory.mktemp("linear"), cpu_backend(), ENTRIES)


@settings(max_examples=120, deadline=None)
@given(
    index=st.integers(0, len(ENTRIES) - 1), rows=st.integers(1, 200), seed=st.integers(0, 2**32 - 1),
    form=st.sampled_from(["dense", "half", "bfloat16", "columns", "padded"])
)  # fmt: skip
def test_products_agree_with_pytorch(library, index, rows, seed, form):
    problem = ENTRIES[index].problem
    torch.manual_seed(seed)
    source_spec, other_spec = problem.operands
    k = source_spec.type.shape[-1]
    source = torch.randn((k,) if source_spec.type.rank == 1 else (rows, k))
    other = torch.randn(other_spec.type.shape)
    if source_spec.external:
        if form == "half":
            source = source.half()
        if form == "columns":
            source = source.t().contiguous().t()
        if form == "padded":
            source = torch.cat([source, source], -1)[..., :k]
    exact = source.double() @ (other.double().t() if problem.kind == Linear.kind else other.double())
    operands = [source.numpy(), other.numpy()]
    if problem.epilogue_operands:
        extra = torch.randn([rows if d == ROWS else d for d in problem.epilogue_operands[0].type.shape])
        operands.append(extra.numpy())
        exact = torch.relu(exact + extra)
    (found,) = library.compute(index, operands, {"rows": rows})
    tolerance = 1e-2 if problem.result.dtype is DType.float16 else 1e-5
    torch.testing.assert_close(
        torch.from_numpy(found.copy()).double(), exact, rtol=tolerance, atol=tolerance * k**0.5
    )


def test_declines_say_why():
    kernel, accepted = KERNELS[0], PROBLEMS[0]
    weight = replace(accepted.operands[1], constant=False)
    changed = replace(accepted, operands=(accepted.operands[0], weight))
    assert "must be known ahead of time" in kernel.supports(changed).reason
    bias = OperandSpec("bias", tensor_type((1000,), F32), constant=True)
    changed = replace(accepted, operands=(*accepted.operands, bias))
    assert "bias is expected in the epilogue" in kernel.supports(changed).reason


@pytest.mark.nvcc
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_cuda_sources_compile_without_warnings(tmp_path, arch):
    backend = cuda_backend()
    if reason := missing_compiler(backend):
        pytest.skip(reason)
    target = cuda_target(arch)
    found = [
        launchers(CUDA_KERNELS, retargeted(p, target, DType.float16))[0]
        for p in (PROBLEMS[0], PROBLEMS[4], PROBLEMS[7], PROBLEMS[9])
    ]
    LauncherLibrary(tmp_path, backend, found)
