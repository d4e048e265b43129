"""Kernels compiled and called on their own: hand-made problems in, results out, no graph and no plan."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..build.process import run
from ..build.toolchain import find_compiler
from ..emit.launcher import c_type, signature
from ..errors import BuildError, ToolchainError
from ..extend.contributions import Kernel
from ..extend.problem import OperandSpec, Problem
from ..ir.dims import Dim, Shape, evaluate, symbol
from ..ir.dtypes import DType
from ..ir.types import TensorType
from ..settings import Settings
from ..target.backend import Backend, header_texts
from ..target.cpu.backend import CpuBackend
from ..target.cuda.backend import CudaBackend
from ..target.target import Target

_CODES = {
    DType.float16: 1,
    DType.float32: 2,
    DType.int32: 3,
    DType.int64: 4,
    DType.bool: 5,
    DType.bfloat16: 6,
}
_GUARD, _MARK = 256, 0xA5  # bytes around each result, and what they hold


class ExternalTensor(ctypes.Structure):
    """``fx2ait::ExternalTensor``."""

    _fields_ = (("data", ctypes.c_void_p), ("dtype", ctypes.c_int), ("strides", ctypes.c_int64 * 8))


def cpu_backend() -> Backend:
    return CpuBackend()


def cpu_target() -> Target:
    """This machine."""
    return CpuBackend().detect(None, Settings())


def cuda_backend() -> Backend:
    return CudaBackend()


def cuda_target(arch: str) -> Target:
    """The card that stands for ``arch``, e.g. ``sm_90a``; needs no GPU."""
    return CudaBackend().detect(arch, Settings())


def missing_compiler(backend: Backend) -> str | None:
    """None, or why sources of the target cannot be compiled here."""
    try:
        find_compiler(backend.source_suffix, Settings())
    except ToolchainError as error:
        return str(error)
    return None


def retargeted(problem: Problem, target: Target, dtype: DType) -> Problem:
    """``problem`` for another target, with every float32 tensor but epilogue operands of ``dtype``."""

    def moved(type: TensorType) -> TensorType:
        return type.with_dtype(dtype) if type.dtype is DType.float32 else type

    operands = tuple(replace(operand, type=moved(operand.type)) for operand in problem.operands)
    return replace(problem, target=target, operands=operands, results=tuple(map(moved, problem.results)))


def dynamic_dim(name: str) -> Dim:
    return symbol(name)


def size_of(shape: Shape, sizes: Mapping[str, int]) -> tuple[int, ...]:
    """``shape`` once every dynamic symbol has its size."""
    return tuple(evaluate(dim, sizes) for dim in shape)


@dataclass(frozen=True)
class Launcher:
    """One kernel on one problem in one configuration."""

    kernel: Kernel
    problem: Problem
    config: Any


def launchers(kernels: Sequence[Kernel], problem: Problem) -> list[Launcher]:
    """All configurations of all ``kernels`` that serve ``problem``.

    Raises ``AssertionError`` with the reasons when there is none.
    """
    mine = [kernel for kernel in kernels if kernel.operator == problem.kind]
    declines = {kernel.name: kernel.supports(problem) for kernel in mine}
    found = [
        Launcher(kernel, problem, candidate.config)
        for kernel in mine
        if declines[kernel.name] is None
        for candidate in kernel.candidates(problem)
    ]
    assert found, f"no kernel serves {problem.kind}: {declines}"
    return found


class LauncherLibrary:
    """A shared library of launchers, called by their position with raw pointers.

    :param folder: where the sources and the library are written.
    :param backend: the target's backend, which brings headers and compiler flags.

    Raises :class:`~fx2ait_core.errors.BuildError` with the compiler's words.
    """

    def __init__(
        self, folder: Path, backend: Backend, entries: Sequence[Launcher], settings: Settings | None = None
    ) -> None:
        settings = settings or Settings()
        self.entries = list(entries)
        self.sources = [e.kernel.emit(f"launcher_{i}", e.problem, e.config) for i, e in enumerate(entries)]
        include = folder / "include"
        texts = dict(header_texts(Path(__file__).parents[1] / "emit" / "include")) | dict(backend.headers())
        for source in self.sources:
            texts |= dict(source.headers)
        for name, text in texts.items():
            (include / name).parent.mkdir(parents=True, exist_ok=True)
            (include / name).write_text(text, encoding="utf-8")
        compiler = find_compiler(backend.source_suffix, settings)
        target = entries[0].problem.target
        flags = [*compiler.flags, *backend.compile_flags(target), f"-I{include}"]

        def compile_one(index: int) -> Path:
            path = folder / f"launcher_{index}{backend.source_suffix}"
            shim = _shim(index, entries[index].problem, backend)
            path.write_text(self.sources[index].text + shim, encoding="utf-8")
            object_path = path.with_suffix(".o")
            _checked([compiler.path, *flags, "-c", path, "-o", object_path])
            return object_path

        with ThreadPoolExecutor(settings.jobs) as pool:
            objects = list(pool.map(compile_one, range(len(entries))))
        extra = folder / f"pool{backend.source_suffix}"
        extra.write_text(_POOL if backend.name == "cpu" else "", encoding="utf-8")
        library = folder / "launchers.so"
        link = [*compiler.link_flags, *backend.link_flags(target)]
        _checked([compiler.path, *flags, "-shared", extra, *objects, "-o", library, *link])
        self._library = ctypes.CDLL(str(library))
        self._context = ctypes.c_void_p()
        if backend.name == "cpu":
            self._library.make_pool.restype = ctypes.c_void_p
            self._context = ctypes.c_void_p(self._library.make_pool(3))

    def packed(self, index: int, operand: int, array: np.ndarray) -> np.ndarray:
        """A constant as the kernel wants it stored, ``array`` having its logical shape."""
        spec = [*self.entries[index].problem.operands, *self.entries[index].problem.epilogue_operands][
            operand
        ]
        packing = self.sources[index].packings.get(operand)
        if packing is not None:
            return np.ascontiguousarray(packing(array))
        ordered = np.transpose(array, spec.type.layout.order)
        return np.ascontiguousarray(ordered.astype(spec.type.dtype.numpy))

    def workspace_bytes(self, index: int) -> int:
        """At the upper bounds of all dynamic symbols."""
        bounds = {name: bounds.max for name, bounds in self.entries[index].problem.symbols}
        return evaluate(self.sources[index].workspace, bounds)

    def compute(
        self, index: int, operands: Sequence[np.ndarray], sizes: Mapping[str, int] | None = None
    ) -> list[np.ndarray]:
        """Run launcher ``index`` on host memory.

        :param operands: operands, then epilogue operands, in logical shape; an external one is
            handed over with the dtype and strides it has.
        :return: results in logical shape.

        Raises ``AssertionError`` when the kernel writes beyond a result.
        """
        entry, sizes = self.entries[index], sizes or {}
        problem = entry.problem
        results = []
        for type in problem.results:
            count = evaluate(type.element_count, sizes)
            results.append(np.full(count * type.dtype.itemsize + 2 * _GUARD, _MARK, np.uint8))
        pointers: list[int | ExternalTensor] = [int(r.ctypes.data) + _GUARD for r in results]
        alive = []
        for position, spec in enumerate([*problem.operands, *problem.epilogue_operands]):
            array = operands[position]
            if spec.external:
                strides = [stride // array.itemsize for stride in array.strides]
                pointers.append(external_tensor(array.ctypes.data, DType.of(array), strides))
            else:
                alive.append(self.packed(index, position, array))
                pointers.append(int(alive[-1].ctypes.data))
        workspace = np.zeros(self.workspace_bytes(index) + 1, np.uint8)
        self.call(index, pointers, sizes, int(workspace.ctypes.data))
        found = []
        for type, buffer in zip(problem.results, results, strict=True):
            guards = np.concatenate([buffer[:_GUARD], buffer[-_GUARD:]])
            assert (guards == _MARK).all(), f"{entry.kernel.name} writes beyond its result {type}"
            shape = [evaluate(dim, sizes) for dim in type.shape]
            stored = (
                buffer[_GUARD:-_GUARD].view(type.dtype.numpy).reshape([shape[a] for a in type.layout.order])
            )
            found.append(np.transpose(stored, np.argsort(type.layout.order)))
        return found

    def call(
        self,
        index: int,
        pointers: Sequence[int | ExternalTensor],
        sizes: Mapping[str, int],
        workspace: int = 0,
        stream: int | None = None,
    ) -> None:
        """Run launcher ``index`` on addresses: results, operands, epilogue operands.

        Raises ``RuntimeError`` with the text of the ``fx2ait::Error`` that the launcher threw.
        """
        problem = self.entries[index].problem
        addresses = [ctypes.addressof(p) if isinstance(p, ExternalTensor) else p for p in pointers]
        arguments = (ctypes.c_void_p * len(addresses))(*addresses)
        bound = [sizes[name] for name, _ in problem.symbols]
        numbers = (ctypes.c_int64 * max(1, len(bound)))(*bound)
        function = getattr(self._library, f"call_launcher_{index}")
        function.restype = ctypes.c_char_p
        context = self._context if stream is None else ctypes.c_void_p(stream)
        message = function(arguments, ctypes.c_void_p(workspace), numbers, context)
        if message is not None:
            raise RuntimeError(message.decode())


def external_tensor(address: int, dtype: DType, strides: Sequence[int]) -> ExternalTensor:
    """An operand that the caller owns; ``strides`` count elements."""
    padded = [*strides, *[0] * (8 - len(strides))]
    return ExternalTensor(address, _CODES[dtype], (ctypes.c_int64 * 8)(*padded))


_POOL = """#include "fx2ait/cpu/thread_pool.h"
extern "C" __attribute__((visibility("default"))) void* make_pool(int threads) {
  return new fx2ait::ThreadPool(threads);
}
"""


def _shim(index: int, problem: Problem, backend: Backend) -> str:
    """A C function that unpacks an array of pointers and turns an exception into its text."""
    operands: list[OperandSpec] = [*problem.operands, *problem.epilogue_operands]
    arguments = [f"static_cast<{c_type(r, problem)}*>(pointers[{i}])" for i, r in enumerate(problem.results)]
    for i, operand in enumerate(operands, start=len(problem.results)):
        if operand.external:
            arguments.append(f"*static_cast<const fx2ait::ExternalTensor*>(pointers[{i}])")
        else:
            arguments.append(f"static_cast<const {c_type(operand.type, problem)}*>(pointers[{i}])")
    arguments.append("workspace")
    arguments += [f"sizes[{i}]" for i in range(len(problem.symbols))]
    cuda = backend.name == "cuda"
    arguments.append(
        "static_cast<cudaStream_t>(context)" if cuda else "*static_cast<fx2ait::ThreadPool*>(context)"
    )
    name = f"launcher_{index}"
    return f"""
#include <exception>
#include <string>

{signature(name, problem)};

extern "C" __attribute__((visibility("default"))) const char* call_{name}(
    void** pointers, void* workspace, [[maybe_unused]] const int64_t* sizes, void* context) {{
  static thread_local std::string message;
  try {{
    {name}({", ".join(arguments)});
    return nullptr;
  }} catch (const std::exception& error) {{
    message = error.what();
    return message.c_str();
  }}
}}
"""


def _checked(command: Sequence[str | Path]) -> None:
    finished = run(command)
    if finished.code != 0:
        raise BuildError(f"{' '.join(map(str, command))}\n{finished.output}")
