"""Compiles CPU convolution kernels into a shared library and calls them on NumPy arrays."""

from __future__ import annotations

import ctypes
import subprocess
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fx2ait_conv.operators import Conv2d, Conv2dAttributes
from sympy import Symbol

import fx2ait_core
from fx2ait_core.sdk import (
    DimRange,
    DType,
    Kernel,
    KernelSource,
    OperandSpec,
    PointwiseProgram,
    Problem,
    Target,
    channels_last,
    tensor_type,
)

CORE = Path(fx2ait_core.__file__).parent
INCLUDES = (CORE / "emit/include", CORE / "target/cpu/include")
DTYPE_CODES = {np.dtype("float16"): 1, np.dtype("float32"): 2}
BATCH = Symbol("batch", integer=True, positive=True)


def machine_flags() -> frozenset[str]:
    """The processor's capabilities, as Linux names them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    flags = next((line for line in lines if line.startswith("flags")), ":")
    return frozenset(flags.partition(":")[2].split())


def cpu_target(threads: int = 2, vector_bytes: int | None = None) -> Target:
    flags = machine_flags()
    width = vector_bytes or (64 if "avx512f" in flags else 32 if "avx2" in flags else 16)
    names = {dtype: "float" if dtype is DType.float32 else f"{dtype}_t" for dtype in DType}
    names |= {DType.float16: "fx2ait::Half", DType.bfloat16: "fx2ait::BFloat16"}
    properties = {
        "c_types": names,
        "launch_context": "fx2ait::ThreadPool& pool",
        "device_function": "inline",
        "element_loop": "#pragma GCC ivdep",
        "vector_bytes": width,
        "threads": threads,
        "l1_bytes": 48 << 10,
        "l2_bytes": 2 << 20,
    }
    return Target("cpu", sysconfig.get_platform(), features=flags, properties=properties)


def conv_problem(
    batch: int,
    channels: int,
    size: tuple[int, int],
    results: int,
    kernel: tuple[int, int],
    attributes: Conv2dAttributes,
    *,
    target: Target,
    external: bool = False,
    program: PointwiseProgram | None = None,
    accesses: Sequence[str] = (),
    batch_range: tuple[int, int] = (1, 64),
) -> Problem:
    """A problem with a dynamic batch, chosen for ``batch``.

    ``accesses`` names each epilogue operand's shape: "channel", "scalar" or "element".
    """
    source = tensor_type((BATCH, channels, *size), DType.float32, channels_last(4))
    weight = tensor_type((results, channels // attributes.groups, *kernel), DType.float32)
    (inferred,) = Conv2d.infer([source, weight], attributes)
    result = inferred.with_layout(channels_last(4))
    types = {
        "channel": tensor_type((results, 1, 1), DType.float32),
        "scalar": tensor_type((1,), DType.float32),
        "element": result,
    }
    return Problem(
        Conv2d.kind,
        attributes,
        (OperandSpec("input", source, external=external), OperandSpec("weight", weight, constant=True)),
        program or PointwiseProgram(1),
        tuple(OperandSpec(f"e{i}", types[access]) for i, access in enumerate(accesses)),
        (result,),
        target,
        (("batch", DimRange(*batch_range)),),
        (("batch", batch),),
    )


@dataclass
class Compiled:
    """A kernel that can be called."""

    problem: Problem
    source: KernelSource
    function: Any
    pool: int

    def __call__(
        self, source: np.ndarray, weight: np.ndarray, epilogue_operands: Sequence[np.ndarray] = ()
    ) -> np.ndarray:
        """``source`` has logical shape NCHW; the result is channels-last in memory, logically NCHW."""
        return self.prepare(source, weight, epilogue_operands)()

    def prepare(
        self, source: np.ndarray, weight: np.ndarray, epilogue_operands: Sequence[np.ndarray] = ()
    ) -> Any:
        """A function that runs the kernel and returns its result, the same array each time."""
        batch = source.shape[0]
        external = self.problem.operands[0].external
        if not external:
            source = channels_last_array(source)
        packed = aligned(self.source.packings[1](weight))
        _, channels, height, width = self.problem.result.shape
        result = aligned(np.full((batch, height, width, channels), np.nan, np.float32))
        extra = [channels_last_array(e) if e.ndim == 4 else aligned(e) for e in epilogue_operands]
        workspace_bytes = int(self.source.workspace)
        workspace = aligned(np.zeros(max(workspace_bytes, 1) + 64, np.uint8))
        workspace[workspace_bytes:] = 0xA5
        strides = (ctypes.c_int64 * 8)(*(s // source.itemsize for s in source.strides))
        pointers = (ctypes.c_void_p * (3 + len(extra)))(
            result.ctypes.data, source.ctypes.data, packed.ctypes.data, *(e.ctypes.data for e in extra)
        )
        keep = (source, packed, extra, workspace)

        def run() -> np.ndarray:
            error = ctypes.create_string_buffer(512)
            code = self.function(
                pointers, strides, DTYPE_CODES[source.dtype], keep[3].ctypes.data, batch, self.pool, error
            )
            if code:
                raise RuntimeError(error.value.decode())
            assert (workspace[workspace_bytes:] == 0xA5).all(), "wrote past the workspace"
            return result.transpose(0, 3, 1, 2)

        return run


def aligned(array: np.ndarray, to: int = 256) -> np.ndarray:
    """A copy in C order that starts at a multiple of ``to`` bytes."""
    raw = np.empty(array.nbytes + to, np.uint8)
    start = -raw.ctypes.data % to
    copy = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def channels_last_array(array: np.ndarray) -> np.ndarray:
    return aligned(array.astype(np.float32).transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def compile_kernels(
    folder: Path, requests: Sequence[tuple[Kernel, Problem, Any]], threads: int = 2
) -> list[Compiled]:
    """One library with a kernel per (kernel, problem, configuration); warnings are errors."""
    sources = []
    wrappers = [_WRAPPER_HEAD]
    names = []
    for index, (kernel, problem, config) in enumerate(requests):
        name = f"{kernel.label(problem, config)}_{index}"
        source = kernel.emit(name, problem, config)
        names.append(name)
        sources.append(source)
        (folder / f"{name}.cpp").write_text(source.text)
        for path, text in source.headers.items():
            target = folder / "include" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        wrappers.append(_wrapper(name, problem))
    (folder / "wrappers.cpp").write_text("\n".join(wrappers))
    includes = [f"-I{path}" for path in (folder / "include", *INCLUDES)]
    flags = ["-std=c++17", "-O3", "-march=native", "-Wall", "-Wextra", "-Werror", "-fPIC", *includes]
    objects = []
    running: list[subprocess.Popen[str]] = []
    for name in [*names, "wrappers"]:
        command = ["g++", *flags, "-c", str(folder / f"{name}.cpp"), "-o", str(folder / f"{name}.o")]
        objects.append(str(folder / f"{name}.o"))
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        if len(running) == 2:
            _finish(running.pop(0))
    for process in running:
        _finish(process)
    library = folder / "kernels.so"
    subprocess.run(["g++", "-shared", "-pthread", "-o", str(library), *objects], check=True)
    loaded = ctypes.CDLL(str(library))
    loaded.make_pool.restype = ctypes.c_void_p
    pool = loaded.make_pool(threads)
    compiled = []
    for (_, problem, _), name, source in zip(requests, names, sources, strict=True):
        function = getattr(loaded, f"call_{name}")
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
        function.argtypes += [ctypes.c_int64, ctypes.c_void_p, ctypes.c_char_p]
        compiled.append(Compiled(problem, source, function, pool))
    return compiled


def _finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate()
    if process.returncode:
        raise AssertionError(f"{process.args!r}\n{errors[:4000]}")


_WRAPPER_HEAD = """
#include <cstdio>
#include "fx2ait/cpu/thread_pool.h"
#include "fx2ait/cpu/vector.h"
#include "fx2ait/external_tensor.h"
extern "C" void* make_pool(int threads) { return new fx2ait::ThreadPool(threads); }
"""


def _wrapper(name: str, problem: Problem) -> str:
    external = problem.operands[0].external
    source = "const fx2ait::ExternalTensor&" if external else "const float*"
    count = len(problem.epilogue_operands)
    parameters = ["float*", source, *["const float*"] * (1 + count)]
    parameters += ["void*", "int64_t", "fx2ait::ThreadPool&"]
    arguments = ["static_cast<float*>(p[0])", "input" if external else "static_cast<const float*>(p[1])"]
    arguments += [f"static_cast<const float*>(p[{2 + i}])" for i in range(1 + count)]
    arguments += ["workspace", "batch", "*static_cast<fx2ait::ThreadPool*>(pool)"]
    return f"""
extern "C" void {name}({", ".join(parameters)});
extern "C" int call_{name}(void** p, const int64_t* strides, int dtype, void* workspace, int64_t batch,
                           void* pool, char* error) {{
  [[maybe_unused]] fx2ait::ExternalTensor input{{p[1], static_cast<fx2ait::DType>(dtype), {{}}}};
  for (int i = 0; i < 4; ++i) input.strides[i] = strides[i];
  try {{
    {name}({", ".join(arguments)});
    return 0;
  }} catch (const std::exception& e) {{
    std::snprintf(error, 512, "%s", e.what());
    return 1;
  }}
}}
"""
