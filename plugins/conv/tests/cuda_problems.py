"""Convolution problems for CUDA kernels, made by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fx2ait_conv.operators import Conv2d, Conv2dAttributes

from fx2ait_core.sdk import (
    DimRange,
    DType,
    PointwiseProgram,
    PointwiseStep,
    Problem,
    Target,
    WindowReduction,
    tensor_type,
)
from fx2ait_core.testing.launchers import dynamic_dim
from fx2ait_core.testing.problems import problem

FIGURES: dict[str, dict[str, Any]] = {
    "sm_90a": {
        "multiprocessors": 132,
        "shared_memory_per_block": 227 << 10,
        "shared_memory_per_multiprocessor": 228 << 10,
        "l2_bytes": 50 << 20,
        "memory_gbps": 3350,
        "fp16_tflops": 989,
        "fp32_tflops": 67,
        "compute_capability": 90,
    },
    "sm_80": {
        "multiprocessors": 108,
        "shared_memory_per_block": 163 << 10,
        "shared_memory_per_multiprocessor": 164 << 10,
        "l2_bytes": 40 << 20,
        "memory_gbps": 2039,
        "fp16_tflops": 312,
        "fp32_tflops": 19.5,
        "compute_capability": 80,
    },
}
C_TYPES = {DType.float16: "__half", DType.bfloat16: "__nv_bfloat16", DType.float32: "float"}
BIAS_RESIDUAL_RELU = PointwiseProgram(
    3,
    (
        PointwiseStep("add", "({0} + {1})", (0, 1)),
        PointwiseStep("add", "({0} + {1})", (3, 2)),
        PointwiseStep("relu", "fx::maximum({0}, 0.0f)", (4,)),
    ),
)
BIAS_RELU = PointwiseProgram(
    2,
    (
        PointwiseStep("add", "({0} + {1})", (0, 1)),
        PointwiseStep("relu", "fx::maximum({0}, 0.0f)", (2,)),
    ),
)
IDENTITY = PointwiseProgram(1)
MOST_IMAGES = 512


def cuda_target(arch: str = "sm_90a", **figures: Any) -> Target:
    """The target, with other ``figures`` than the usual ones."""
    hopper = {"wgmma", "tma"} if arch == "sm_90a" else set()
    return Target(
        "cuda",
        arch,
        features=frozenset({"mma_sync", "cp_async"} | hopper),
        properties={
            **FIGURES[arch],
            **figures,
            "c_types": C_TYPES,
            "launch_context": "cudaStream_t stream",
            "device_function": "__device__ __forceinline__",
            "element_loop": "#pragma unroll",
        },
    )


def convolution(
    channels: int,
    size: tuple[int, int],
    out_channels: int,
    kernel: tuple[int, int] = (3, 3),
    *,
    batch: int = 2,
    dtype: DType = DType.float16,
    result: DType | None = None,
    external: bool = False,
    arch: str = "sm_90a",
    window: Callable[[tuple[int, int]], WindowReduction] | None = None,
    residual: bool = True,
    figures: dict[str, Any] | None = None,
    **attributes: Any,
) -> Problem:
    """A convolution with bias, residual and ReLU over a dynamic batch, to be chosen for ``batch``.

    ``window`` makes the reduction of a result of the given height and width.

    An external input has the type float32, as an engine's input does, whatever comes at run time.
    """
    geometry = Conv2dAttributes(**attributes)
    source = tensor_type((dynamic_dim("batch"), channels, *size), DType.float32 if external else dtype)
    weight = tensor_type((out_channels, channels // geometry.groups, *kernel), dtype)
    inferred = Conv2d.infer([source, weight], geometry)[0]
    operands = [tensor_type((1, out_channels, 1, 1), DType.float32), inferred.with_dtype(dtype)]
    height, width = (int(dim) for dim in inferred.shape[2:])
    return problem(
        Conv2d,
        [source, weight],
        geometry,
        target=cuda_target(arch, **(figures or {})),
        constants={1},
        externals={0} if external else (),
        epilogue=BIAS_RESIDUAL_RELU if residual else BIAS_RELU,
        epilogue_operands=operands if residual else operands[:1],
        result_dtype=result or dtype,
        symbols={"batch": DimRange(1, MOST_IMAGES)},
        sizes={"batch": batch},
        window=window((height, width)) if window else None,
    )


def max_window(
    size: tuple[int, int],
    kernel: tuple[int, int] = (3, 3),
    stride: tuple[int, int] = (2, 2),
    padding: tuple[int, int] = (1, 1),
    finish: PointwiseProgram = IDENTITY,
) -> WindowReduction:
    """The reduction that max pooling of ``size`` is, without ceil mode."""
    output = tuple((size[i] + 2 * padding[i] - kernel[i]) // stride[i] + 1 for i in range(2))
    return WindowReduction("max", kernel, stride, padding, (1, 1), size, output, finish)
