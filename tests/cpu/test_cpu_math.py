"""``fx2ait/cpu/math.h`` and the 16-bit conversions of ``vector.h`` against NumPy in float64."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from fx2ait_core.build.process import run
from fx2ait_core.build.toolchain import find_cxx
from fx2ait_core.emit.templates import Templates
from fx2ait_core.extend.problem import OperandSpec, Problem
from fx2ait_core.ir.dims import DimRange, symbol
from fx2ait_core.ir.dtypes import DType
from fx2ait_core.ir.fused import FusedPointwise, ProgramAttributes
from fx2ait_core.ir.pointwise import PointwiseProgram, PointwiseStep
from fx2ait_core.ir.types import tensor_type
from fx2ait_core.settings import Settings
from fx2ait_core.target.cpu import pointwise
from fx2ait_core.target.cpu.backend import CpuBackend
from fx2ait_core.testing.launchers import LauncherLibrary, launchers

TARGET = CpuBackend().detect(None, Settings())
COUNT = symbol("count")
F32 = DType.float32
SPECIAL = np.array(
    [0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-40, -1e-40, 1e-45, 3.4e38, -3.4e38, 2, 3, -2, -3, 0.5, -0.5,
     2**23, 2**23 + 1, -(2**23 + 1), 2**24, 1e10, 1e-10, -1e-10, 88.7, -88, -100, -103.9, 89,
     65504, 65520, 2**-24],
    np.float32,
)  # fmt: skip


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


UNARY = {
    "exp": np.exp, "log": np.log, "log1p": np.log1p, "tanh": np.tanh, "sigmoid": sigmoid, "sqrt": np.sqrt,
    "abs": np.abs, "erf": lambda x: torch.erf(torch.from_numpy(x)).numpy(),
}  # fmt: skip
BINARY = {"pow": np.power, "maximum": np.maximum, "minimum": np.minimum}
CONVERSIONS = [(F32, DType.float16), (DType.float16, F32), (F32, DType.bfloat16), (DType.bfloat16, F32)]


def entry(program, source, result):
    operands = tuple(
        OperandSpec(f"operand{i}", tensor_type((COUNT,), source)) for i in range(program.input_count)
    )
    problem = Problem(
        FusedPointwise.kind, ProgramAttributes(program), operands, PointwiseProgram(1), (),
        (tensor_type((COUNT,), result),), TARGET, (("count", DimRange(1, 2**24)),), (("count", 1000),)
    )  # fmt: skip
    return launchers(pointwise.KERNELS, problem)[0]


def function(name, arity):
    arguments = tuple(range(arity))
    call = f"fx::{name}({', '.join(f'{{{i}}}' for i in arguments)})"
    return PointwiseProgram(arity, (PointwiseStep(f"test.{name}", call, arguments),))


NAMES = [*UNARY, *BINARY, *CONVERSIONS]
ENTRIES = [
    *(entry(function(name, 1), F32, F32) for name in UNARY),
    *(entry(function(name, 2), F32, F32) for name in BINARY),
    *(entry(PointwiseProgram(1), source, result) for source, result in CONVERSIONS),
]

pytestmark = pytest.mark.xdist_group("cpu_math")  # compile once


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return LauncherLibrary(tmp_path_factory.mktemp("math"), CpuBackend(), ENTRIES)


def any_floats(random, count):
    """Every exponent and sign is as likely as any other, NaN and infinities among them."""
    return random.integers(0, 2**32, count, dtype=np.uint64).astype(np.uint32).view(np.float32)


def compute(library, name, *arrays):
    return library.compute(NAMES.index(name), arrays, {"count": arrays[0].size})[0]


def assert_close(found, exact, arguments):
    """Relative error below 1e-6, or below a float's smallest normal number; the same NaN and signs."""
    with np.errstate(over="ignore"):
        rounded = exact.astype(np.float32)
    wrong = np.isnan(found) != np.isnan(rounded)
    known = ~np.isnan(rounded) & ~np.isnan(found)
    wrong |= known & (np.isinf(found) != np.isinf(rounded))
    wrong |= known & (np.signbit(found) != np.signbit(rounded))
    finite = np.isfinite(rounded) & np.isfinite(found)
    error = np.zeros(found.shape)
    error[finite] = np.abs(found[finite] - exact[finite]) / np.maximum(np.abs(exact[finite]), 2.0**-126)
    wrong |= error > 1e-6
    first = np.flatnonzero(wrong)[:5]
    assert first.size == 0, [([a[i] for a in arguments], found[i], exact[i]) for i in first]


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_argument(library, name):
    random = np.random.default_rng()
    x = np.concatenate(
        [SPECIAL, any_floats(random, 300_000), random.uniform(-110, 95, 100_000).astype(np.float32),
         random.uniform(-5, 5, 100_000).astype(np.float32),
         random.normal(size=100_000).astype(np.float32) * 1e-3]
    )  # fmt: skip
    with np.errstate(all="ignore"):
        exact = UNARY[name](x.astype(np.float64))
    assert_close(compute(library, name, x), exact, (x,))


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_arguments(library, name):
    random = np.random.default_rng()
    x, y = np.repeat(SPECIAL, SPECIAL.size), np.tile(SPECIAL, SPECIAL.size)
    if name == "pow":
        x = np.concatenate(
            [x, any_floats(random, 200_000), random.uniform(-9, 9, 200_000).astype(np.float32)]
        )
        powers = random.integers(-40, 40, 200_000)
        y = np.concatenate([y, random.uniform(-40, 40, 200_000), powers]).astype(np.float32)
    with np.errstate(all="ignore"):
        exact = BINARY[name](x.astype(np.float64), y.astype(np.float64))
    found = compute(library, name, x, y)
    if name == "pow":
        assert_close(found, exact, (x, y))
    else:  # which of two zeros wins is left open, as in PyTorch
        np.testing.assert_array_equal(found, exact.astype(np.float32))


@pytest.mark.parametrize(("source", "result"), CONVERSIONS)
def test_conversions_round_to_nearest_even(library, source, result):
    if source is F32:
        x = np.concatenate([SPECIAL, any_floats(np.random.default_rng(), 500_000)])
        halfway = np.arange(0x0000, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
        x = np.concatenate([x, (halfway[1:] + halfway[:-1]) / 2, halfway])
    else:
        x = np.arange(2**16, dtype=np.uint16).view(source.numpy)
    found = compute(library, (source, result), x)
    tensor = (
        torch.from_numpy(x.view(np.int16)).view(getattr(torch, source.value)) if source is not F32 else None
    )
    tensor = torch.from_numpy(x) if tensor is None else tensor
    expected = tensor.to(getattr(torch, result.value)).float().numpy()
    np.testing.assert_array_equal(found.astype(np.float32), expected)


def test_every_function_vectorizes(tmp_path):
    """A loop over any function becomes vector code under the target's own flags."""
    compiler = find_cxx(Settings())
    if "GCC" not in compiler.identity and "g++" not in compiler.path.name:
        pytest.skip("only GCC reports what it vectorized")
    lines = ['#include "fx2ait/cpu/math.h"']
    for name, arity in [*((n, 1) for n in UNARY), *((n, 2) for n in BINARY)]:
        call = f"fx::{name}(a[i]{', b[i]' if arity == 2 else ''})"
        parameters = (
            "float* __restrict o, const float* __restrict a, [[maybe_unused]] const float* __restrict b"
        )
        lines.append(
            f"void loop_{name}({parameters}, long n) {{ for (long i = 0; i < n; ++i) o[i] = {call}; }}"
        )
    source = tmp_path / "loops.cpp"
    source.write_text("\n".join(lines), encoding="utf-8")
    backend = CpuBackend()
    for name, text in backend.headers().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    flags = [*backend.compile_flags(TARGET), f"-I{tmp_path}", "-fopt-info-vec-optimized"]
    finished = run([compiler.path, *flags, "-c", source, "-o", tmp_path / "loops.o"])
    assert finished.code == 0, finished.output
    found = {int(number) for number in re.findall(r"loops\.cpp:(\d+):.*loop vectorized", finished.output)}
    assert found >= set(range(2, len(lines) + 1)), finished.output


def test_templates_of_both_targets_are_packaged():
    for package in ("fx2ait_core.target.cpu", "fx2ait_core.target.cuda"):
        assert list(Templates(package).root.glob("pointwise.*.jinja"))
