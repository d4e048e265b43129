"""Runs CUDA kernels on the CPU, compiled against the stand-ins in ``cuda_emulation``."""

from __future__ import annotations

import ctypes
import platform
import random
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from cuda_problems import MOST_IMAGES

import fx2ait_core
from fx2ait_core.sdk import DType, Kernel, PointwiseProgram, PointwiseStep, Problem, c_type, evaluate
from fx2ait_core.testing.launchers import external_tensor

EMULATION = Path(__file__).parent / "cuda_emulation"
CORE = Path(fx2ait_core.__file__).parent
HALVED_LESS_ONE = PointwiseProgram(1, (PointwiseStep("finish", "0.5f * {0} - 1.0f", (0,)),))
REAL_HEADERS = ("check.h", "external.cuh", "tensor_map.h", "vector.cuh")
"""Headers of the core's cuda target that are compiled as they are."""
AVAILABLE = platform.machine() == "x86_64" and shutil.which("g++") is not None
GUARD = 4096
DYNAMIC_SHARED_MEMORY = re.compile(r"extern __shared__[^;]*;")


class EmulatedKernel:
    """One kernel on one problem in one configuration. The workspace lives as long as this object."""

    def __init__(self, kernel: Kernel, problem: Problem, config: Any, folder: Path) -> None:
        self.problem = problem
        self.source = kernel.emit("launcher", problem, config)
        self.workspace = torch.zeros(
            evaluate(self.source.workspace, {"batch": MOST_IMAGES // 32}) // 4, dtype=torch.int32
        )
        headers = {
            f"fx2ait/cuda/{name}": CORE / "target/cuda/include/fx2ait/cuda" / name for name in REAL_HEADERS
        }
        texts = {path: file.read_text(encoding="utf-8") for path, file in headers.items()} | dict(
            self.source.headers
        )
        for path, text in texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            # Dynamic shared memory is a global array of the emulation.
            (folder / path).write_text(DYNAMIC_SHARED_MEMORY.sub("", text), encoding="utf-8")
        (folder / "launcher.cpp").write_text(self.source.text + self._shim(), encoding="utf-8")
        library = folder / "launcher.so"
        includes = [f"-I{path}" for path in (EMULATION, folder, CORE / "emit/include")]
        subprocess.run(
            ["g++", "-std=c++17", "-O1", "-Wno-unknown-pragmas", "-fPIC", "-shared", *includes,
             folder / "launcher.cpp", EMULATION / "switch.S", "-o", library],
            check=True,
        )  # fmt: skip
        self.function = ctypes.CDLL(str(library)).run

    def _shim(self) -> str:
        operands = [*self.problem.operands, *self.problem.epilogue_operands]
        arguments = [f"static_cast<{c_type(self.problem.result, self.problem)}*>(pointers[0])"]
        for i, operand in enumerate(operands, start=1):
            to = "*static_cast<const fx2ait::ExternalTensor*>" if operand.external else (
                f"static_cast<const {c_type(operand.type, self.problem)}*>"
            )  # fmt: skip
            arguments.append(f"{to}(pointers[{i}])")
        return (
            '\nextern "C" void run(void** pointers, void* workspace, int64_t batch, unsigned seed) {\n'
            "  std::srand(seed);\n"
            f"  launcher({', '.join(arguments)}, workspace, batch, nullptr);\n}}\n"
        )

    def __call__(
        self,
        source: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        residual: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The result, NCHW in shape, channels-last in memory.

        ``source`` is passed with its own dtype and strides where the problem's input is external.
        Raises AssertionError when the kernel writes past the end of the result.
        """
        dtype = getattr(torch, self.problem.result.dtype.value)
        n = source.shape[0]
        c, h, w = (int(dim) for dim in self.problem.result.shape[1:])
        count = n * c * h * w
        memory = torch.full((count + GUARD,), float("nan"), dtype=dtype)
        packed = self.source.packings[1](weight.numpy()).tobytes()
        padded = ctypes.create_string_buffer(packed, len(packed) + 16)
        aligned = torch.frombuffer(padded, dtype=torch.uint8)[: len(packed)].clone()
        operands: list[Any] = [memory, source, aligned, bias]
        operands += [residual] if residual is not None else []
        pointers = [tensor.data_ptr() for tensor in operands]
        if self.problem.operands[0].external:
            external = external_tensor(source.data_ptr(), _dtype(source), source.stride())
            pointers[1] = ctypes.addressof(external)
        workspace = ctypes.c_void_p(self.workspace.data_ptr() if self.workspace.numel() else None)
        self.function(
            (ctypes.c_void_p * len(pointers))(*pointers),
            workspace,
            ctypes.c_int64(source.shape[0]),
            random.getrandbits(31),  # decides what happens when
        )
        assert torch.isnan(memory[count:]).all(), "a write past the end of the result"
        return memory[:count].view(n, h, w, c).permute(0, 3, 1, 2)


def _dtype(tensor: torch.Tensor) -> DType:
    return DType(str(tensor.dtype).removeprefix("torch."))


def reference(problem: Problem, tensors: Sequence[torch.Tensor], rounded: torch.dtype) -> torch.Tensor:
    """The same convolution by PyTorch in float64, of operands rounded to ``rounded``;
    what ends a window, if anything, is ``HALVED_LESS_ONE``."""
    source, weight, bias, *residual = tensors
    attributes: Any = problem.attributes
    top, bottom, left, right = attributes.padding
    padded = torch.nn.functional.pad(source.to(rounded).double(), (left, right, top, bottom))
    result = torch.nn.functional.conv2d(
        padded,
        weight.to(rounded).double(),
        None,
        attributes.stride,
        0,
        attributes.dilation,
        attributes.groups,
    )
    result = torch.relu(sum(residual, result + bias.view(1, -1, 1, 1)))
    window = problem.window
    if window is None:
        return result
    largest = torch.nn.functional.max_pool2d(result, window.kernel, window.stride, window.padding)
    return largest if window.finish.is_identity else 0.5 * largest - 1
