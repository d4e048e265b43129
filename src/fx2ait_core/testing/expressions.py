"""Pointwise expressions compiled on their own: evaluated on the CPU, checked by ``nvcc`` for CUDA."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..build.process import run
from ..build.toolchain import find_compiler
from ..errors import BuildError
from ..extend.contributions import PointwiseExpression
from ..ir.operator import NO_ATTRIBUTES, Attributes
from ..passes.pointwise import attribute_literals
from ..settings import Settings
from ..target.backend import Backend, header_texts

_MATH_HEADERS = {"cpu": "fx2ait/cpu/math.h", "cuda": "fx2ait/cuda/math.cuh"}
_WARNINGS = {
    "cpu": ("-Wall", "-Wextra", "-Werror"),
    "cuda": ("-Werror", "all-warnings"),
}


@dataclass(frozen=True)
class ScalarCase:
    """An expression with the attributes that are written into it."""

    expression: PointwiseExpression
    attributes: Attributes = NO_ATTRIBUTES

    @property
    def arity(self) -> int:
        return len(self.expression.operator.operand_names)

    def text(self, operands: Sequence[str]) -> str:
        """The expression over the C expressions ``operands``.

        Raises ``KeyError`` or ``IndexError`` for a placeholder that names neither an attribute nor
        an operand.
        """
        return self.expression.expression.format(*operands, **attribute_literals(self.attributes))


class ExpressionLibrary:
    """Expressions as functions over float32 arrays, on the CPU.

    :param folder: where source and library are written.

    Raises :class:`~fx2ait_core.errors.BuildError` with the compiler's words; warnings are errors.
    """

    def __init__(
        self, folder: Path, backend: Backend, cases: Sequence[ScalarCase], settings: Settings | None = None
    ) -> None:
        settings = settings or Settings.from_environment()
        self.cases = list(cases)
        library = folder / "expressions.so"
        command = _command(folder, backend, self.cases, settings)
        _checked([*command, "-shared", "-fPIC", "-o", library])
        self._library = ctypes.CDLL(str(library))

    def evaluate(self, index: int, *operands: np.ndarray) -> np.ndarray:
        """Case ``index`` on float32 arrays of one shape; float32 of that shape."""
        arrays = [np.ascontiguousarray(operand, dtype=np.float32) for operand in operands]
        result = np.empty_like(arrays[0])
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in [result, *arrays]]
        getattr(self._library, f"expression_{index}")(*pointers, ctypes.c_int64(result.size))
        return result


def compile_expressions(
    folder: Path, backend: Backend, cases: Sequence[ScalarCase], settings: Settings | None = None
) -> None:
    """Compile expressions for a target without running them.

    Raises :class:`~fx2ait_core.errors.BuildError` with the compiler's words, or
    :class:`~fx2ait_core.errors.ToolchainError` where the target's compiler is missing.
    """
    settings = settings or Settings.from_environment()
    _checked([*_command(folder, backend, cases, settings), "-c", "-o", folder / "expressions.o"])


def _command(
    folder: Path, backend: Backend, cases: Sequence[ScalarCase], settings: Settings
) -> list[str | Path]:
    include = folder / "include"
    texts = dict(header_texts(Path(__file__).parents[1] / "emit" / "include")) | dict(backend.headers())
    for name, text in texts.items():
        (include / name).parent.mkdir(parents=True, exist_ok=True)
        (include / name).write_text(text, encoding="utf-8")
    source = folder / f"expressions{backend.source_suffix}"
    source.write_text(_source(backend.name, cases), encoding="utf-8")
    compiler = find_compiler(backend.source_suffix, settings)
    arch = {"cuda": "sm_80"}.get(backend.name)
    flags = backend.compile_flags(backend.detect(arch, settings))
    return [compiler.path, *compiler.flags, *flags, *_WARNINGS[backend.name], f"-I{include}", source]


def _source(target: str, cases: Sequence[ScalarCase]) -> str:
    functions = [f'#include <cstdint>\n\n#include "{_MATH_HEADERS[target]}"\n']
    for index, case in enumerate(cases):
        names = [f"x{i}" for i in range(case.arity)]
        parameters = ", ".join(["float* result", *(f"const float* a{i}" for i in range(case.arity))])
        loads = "".join(f"    const float {name} = a{i}[i];\n" for i, name in enumerate(names))
        body = f"{loads}    result[i] = {case.text(names)};\n"
        if target == "cuda":
            functions.append(
                f'extern "C" __global__ void expression_{index}({parameters}, int64_t count) {{\n'
                f"  const int64_t i = blockIdx.x * int64_t{{blockDim.x}} + threadIdx.x;\n"
                f"  if (i < count) {{\n{body}  }}\n}}\n"
            )
        else:
            functions.append(
                f'extern "C" __attribute__((visibility("default"))) void expression_{index}'
                f"({parameters}, int64_t count) {{\n"
                f"  for (int64_t i = 0; i < count; ++i) {{\n{body}  }}\n}}\n"
            )
    return "\n".join(functions)


def _checked(command: Sequence[str | Path]) -> None:
    finished = run(command)
    if finished.code != 0:
        raise BuildError(f"{' '.join(map(str, command))}\n{finished.output}")
