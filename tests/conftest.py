"""Fixtures that several rooms' tests share."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fx2ait_core.extend.contributions import KernelSource
from fx2ait_core.extend.problem import OperandSpec, Problem
from fx2ait_core.ir.dims import DimRange, symbol
from fx2ait_core.ir.dtypes import DType
from fx2ait_core.ir.operator import NO_ATTRIBUTES
from fx2ait_core.ir.pointwise import PointwiseProgram
from fx2ait_core.ir.types import tensor_type
from fx2ait_core.plan.plan import (
    BucketPlan,
    Launch,
    Location,
    MemoryReport,
    PackedConstant,
    Plan,
    PlannedKernel,
    Port,
)
from fx2ait_core.settings import Settings
from fx2ait_core.target.backend import Backend
from fx2ait_core.target.cpu import CpuBackend
from fx2ait_core.target.cuda import CudaBackend
from fx2ait_core.target.target import Target

# result[n][c] = x[n][c] * weight[c]; fails on -1 in the first element and on a dirty workspace.
_CPU_SCALE = """
#include "fx2ait/cpu/thread_pool.h"
#include "fx2ait/cpu/vector.h"
#include "fx2ait/error.h"
#include "fx2ait/external_tensor.h"

{signature} {{
  auto* const scratch = static_cast<int*>(workspace);
  if (scratch[0] != 0) throw fx2ait::Error("the workspace is dirty");
  const auto element = [&](int64_t n, int64_t c) {{
    const int64_t at = n * x.strides[0] + c * x.strides[1];
    if (x.dtype == fx2ait::DType::half) return fx2ait::to_float(static_cast<const fx2ait::Half*>(x.data)[at]);
    if (x.dtype == fx2ait::DType::bfloat16) {{
      return fx2ait::to_float(static_cast<const fx2ait::BFloat16*>(x.data)[at]);
    }}
    return static_cast<const float*>(x.data)[at];
  }};
  if (element(0, 0) == -1.0f) throw fx2ait::Error("minus one is refused");
  pool.parallel_for(batch * 3, [&](int64_t begin, int64_t end) {{
    for (int64_t i = begin; i < end; ++i) result[i] = element(i / 3, i % 3) * weight[i % 3];
  }});
}}
"""

# result = x + 1
_CPU_INCREMENT = """
#include "fx2ait/cpu/thread_pool.h"
#include "fx2ait/cpu/vector.h"
#include "fx2ait/error.h"
#include "fx2ait/external_tensor.h"

{signature} {{
  if (static_cast<int*>(workspace)[0] != 0) throw fx2ait::Error("the workspace is dirty");
  pool.parallel_for(batch * 3, [&](int64_t begin, int64_t end) {{
    for (int64_t i = begin; i < end; ++i) result[i] = x[i] + 1.0f;
  }});
}}
"""

_CUDA_SCALE = """
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "fx2ait/cuda/check.h"
#include "fx2ait/external_tensor.h"

namespace {{

__global__ void scale(__half* result, const fx2ait::ExternalTensor x, const __half* weight, int* scratch,
                      int64_t count) {{
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i >= count) return;
  const int64_t at = i / 3 * x.strides[0] + i % 3 * x.strides[1];
  float value = 0;
  if (x.dtype == fx2ait::DType::half) value = __half2float(static_cast<const __half*>(x.data)[at]);
  if (x.dtype == fx2ait::DType::bfloat16) {{
    value = __bfloat162float(static_cast<const __nv_bfloat16*>(x.data)[at]);
  }}
  if (x.dtype == fx2ait::DType::float32) value = static_cast<const float*>(x.data)[at];
  if (*scratch != 0) value = NAN;
  result[i] = __float2half(value * __half2float(weight[i % 3]));
}}

}}  // namespace

{signature} {{
  const auto blocks = static_cast<unsigned>((batch * 3 + 127) / 128);
  scale<<<blocks, 128, 0, stream>>>(result, x, weight, static_cast<int*>(workspace), batch * 3);
  fx2ait::launch_check("scale");
}}
"""

_CUDA_INCREMENT = """
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "fx2ait/cuda/check.h"
#include "fx2ait/external_tensor.h"

namespace {{

__global__ void increment(float* result, const __half* x, int* scratch, int64_t count) {{
  const int64_t i = blockIdx.x * static_cast<int64_t>(blockDim.x) + threadIdx.x;
  if (i < count) result[i] = *scratch != 0 ? NAN : __half2float(x[i]) + 1.0f;
}}

}}  // namespace

{signature} {{
  const auto blocks = static_cast<unsigned>((batch * 3 + 127) / 128);
  increment<<<blocks, 128, 0, stream>>>(result, x, static_cast<int*>(workspace), batch * 3);
  fx2ait::launch_check("increment");
}}
"""

_TEXTS = {"cpu": (_CPU_SCALE, _CPU_INCREMENT), "cuda": (_CUDA_SCALE, _CUDA_INCREMENT)}
WEIGHT = np.array([2.0, 3.0, 5.0])


def make_plan(target: Target, name: str = "scale and increment") -> Plan:
    """``image[batch, 3] * [2, 3, 5] + 1`` for a batch of 1 to 8, in buckets up to 2 and 8.

    The weight is a constant called
    ``layer.weight``; the nodes are ``layer.scale`` and ``layer.increment``.
    """
    from fx2ait_core.emit.launcher import signature  # noqa: PLC0415  (of the room under test)

    compute = target.compute_dtypes[0]
    batch = symbol("batch")
    symbols = (("batch", DimRange(1, 8)),)
    inside = tensor_type((batch, 3), compute)
    outside = tensor_type((batch, 3), DType.float32)

    def kernel(name: str, text: str, operands: tuple[OperandSpec, ...], result: Any) -> PlannedKernel:
        problem = Problem(
            f"test.{name}", NO_ATTRIBUTES, operands, PointwiseProgram(1), (), (result,), target, symbols
        )
        source = KernelSource(text.format(signature=signature(f"{name}_kernel", problem)), workspace=4)
        return PlannedKernel(
            f"{name}_kernel", f"plain_{name}", "fx2ait-test", "Config(x=1)", "cached", source, problem
        )

    scale = kernel(
        "scale",
        _TEXTS[target.name][0],
        (
            OperandSpec("x", outside, external=True),
            OperandSpec("weight", tensor_type((3,), compute), constant=True),
        ),
        inside,
    )
    increment = kernel("increment", _TEXTS[target.name][1], (OperandSpec("x", inside),), outside)

    def bucket(size: int, workspaces: tuple[int, int], activation: int) -> BucketPlan:
        arena = Location("arena", activation)
        launches = (
            Launch(
                scale.name,
                "layer.scale",
                "scale",
                (arena,),
                (Location("input", 0), Location("constant", 256)),
                Location("arena", workspaces[0]),
            ),
            Launch(
                increment.name,
                "layer.increment",
                "increment",
                (Location("output", 0),),
                (arena,),
                Location("arena", workspaces[1]),
            ),
        )
        return BucketPlan((("batch", size),), launches, MemoryReport(256, 256, 256, max(workspaces) + 256))

    return Plan(
        name=name,
        target=target,
        precision=str(compute),
        symbols=symbols,
        inputs=(Port("image", outside),),
        outputs=(Port("sum", outside),),
        kernels=(scale, increment),
        constants=(
            PackedConstant("spare", np.arange(5, dtype=np.int64), 0),
            PackedConstant("layer.weight", WEIGHT.astype(compute.numpy), 256),
        ),
        buckets=(bucket(2, (0, 256), 512), bucket(8, (0, 256), 512)),
        plugins=(("fx2ait-test", "1.2"),),
    )


@pytest.fixture(scope="session")
def plan_of() -> Callable[..., Plan]:
    return make_plan


@pytest.fixture(scope="session")
def cpu_target() -> tuple[Backend, Target]:
    backend = CpuBackend()
    return backend, backend.detect(None, Settings(threads=2))


@pytest.fixture(scope="session", params=["sm_80", "sm_90a"])
def cuda_target(request: pytest.FixtureRequest) -> tuple[Backend, Target]:
    backend = CudaBackend()
    return backend, backend.detect(request.param, Settings())


@pytest.fixture(scope="session")
def benchmark_script() -> Callable[[str], ModuleType]:
    """Imports a module of the folder ``benchmarks``, which is no package, by its name."""

    def load(name: str) -> ModuleType:
        folder = str(Path(__file__).parents[1] / "benchmarks")
        sys.path.insert(0, folder)
        try:
            return importlib.import_module(name)
        finally:
            sys.path.remove(folder)

    return load
