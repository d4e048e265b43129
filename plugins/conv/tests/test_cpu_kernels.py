"""The CPU kernels against PyTorch, over the whole range of geometries, tilings and epilogues."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conv_cpu_harness import compile_kernels, conv_problem, cpu_target
from fx2ait_conv import cpu_direct, cpu_lanewise, cpu_winograd
from fx2ait_conv.cpu import KERNELS
from fx2ait_conv.cpu_geometry import Geometry
from fx2ait_conv.cpu_machine import Machine
from fx2ait_conv.operators import Conv2dAttributes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fx2ait_core.sdk import DType, Kernel, PointwiseProgram, PointwiseStep, Problem, row_major

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")

NATIVE_BYTES = cpu_target()["vector_bytes"]
ADD = PointwiseStep("add", "{0} + {1}", (0, 1))
EPILOGUES: dict[str, tuple[PointwiseProgram, tuple[str, ...]]] = {
    "none": (PointwiseProgram(1), ()),
    "bias": (PointwiseProgram(2, (ADD,)), ("channel",)),
    "bias, residual, relu": (
        PointwiseProgram(
            3,
            (
                ADD,
                PointwiseStep("add", "{0} + {1}", (3, 2)),
                PointwiseStep("relu", "fx::maximum({0}, 0.0f)", (4,)),
            ),
        ),
        ("channel", "element"),
    ),
    "scale": (PointwiseProgram(2, (PointwiseStep("mul", "{0} * {1}", (0, 1)),)), ("scalar",)),
}


def reference(name: str, sums: torch.Tensor, operands: list[torch.Tensor]) -> torch.Tensor:
    """The epilogue called ``name`` in PyTorch."""
    if name == "none":
        return sums
    if name == "bias":
        return sums + operands[0]
    if name == "scale":
        return sums * operands[0]
    return torch.relu(sums + operands[0] + operands[1])


@dataclass(frozen=True)
class Case:
    """A convolution, the kernel and configuration to compute it with, and how to call it."""

    kernel: Kernel
    problem: Problem
    config: Any
    epilogue: str
    batches: tuple[int, ...]
    layout: str  # of an external input
    half: bool  # an external input in float16
    seed: int


def all_configurations(kernel: Kernel, problem: Problem) -> list[Any]:
    machine, geometry = Machine.of(problem.target), Geometry.of(problem)
    if kernel is cpu_direct.DIRECT:
        return list(cpu_direct.configurations(problem, machine))
    if kernel is cpu_winograd.WINOGRAD:
        return list(cpu_winograd.configurations(problem, machine))
    return list(cpu_lanewise.configurations(geometry, machine))


@st.composite
def cases(draw: st.DrawFn, kernel: Kernel) -> Case:
    winograd = kernel is cpu_winograd.WINOGRAD
    pair = lambda low, high: draw(st.tuples(st.integers(low, high), st.integers(low, high)))  # noqa: E731
    padding = draw(st.tuples(*[st.integers(0, 4)] * 4))
    if winograd:
        taps, stride, dilation, groups = (3, 3), (1, 1), (1, 1), 1
        channels, results = pair(cpu_winograd.MIN_CHANNELS, 70)
    else:
        taps, stride, dilation = pair(1, 5), pair(1, 3), pair(1, 3)
        lanewise = kernel is cpu_lanewise.LANEWISE
        groups = draw(st.integers(2, 40)) if lanewise else draw(st.sampled_from([1, 1, 1, 2, 3, 5]))
        group_channels = draw(st.integers(1, 4 if lanewise else 20))
        group_results = draw(st.integers(1, 5 if lanewise else 70))
        channels, results = groups * group_channels, groups * group_results
    reach = [dilation[i] * (taps[i] - 1) + 1 - padding[2 * i] - padding[2 * i + 1] for i in range(2)]
    least = [max(1, length) for length in reach]
    size = (draw(st.integers(least[0], least[0] + 16)), draw(st.integers(least[1], 34)))
    epilogue = draw(st.sampled_from(sorted(EPILOGUES)))
    program, accesses = EPILOGUES[epilogue]
    problem = conv_problem(
        draw(st.integers(1, 9)),
        channels,
        size,
        results,
        taps,
        Conv2dAttributes(stride, padding, dilation, groups),
        target=cpu_target(vector_bytes=draw(st.sampled_from([NATIVE_BYTES, NATIVE_BYTES, 16]))),
        external=bool(kernel.external_operands) and draw(st.booleans()),
        program=program,
        accesses=accesses,
    )
    config = draw(st.sampled_from(all_configurations(kernel, problem)))
    batches = (draw(st.integers(1, 9)), draw(st.integers(1, 3)))
    layout = draw(st.sampled_from(["contiguous", "channels_last", "sliced"]))
    half, seed = draw(st.booleans()), draw(st.integers(0, 2**30))
    return Case(kernel, problem, config, epilogue, batches, layout, half, seed)


def external_array(source: torch.Tensor, case: Case) -> np.ndarray:
    if case.half:
        source = source.half()
    if case.layout == "channels_last":
        source = source.contiguous(memory_format=torch.channels_last)
    if case.layout == "sliced":
        # No stride is 1: every second column of a wider tensor.
        return torch.cat([source, source], 3).repeat_interleave(2, 3)[..., : 2 * source.shape[3] : 2].numpy()
    return source.numpy()


def check(case: Case, compiled: Any) -> None:
    """Runs a compiled case on fresh inputs; compares with PyTorch in float64."""
    torch.manual_seed(case.seed)
    attributes = case.problem.attributes
    assert isinstance(attributes, Conv2dAttributes)
    _, channels, height, width = case.problem.operands[0].type.shape
    weight = torch.randn(case.problem.operands[1].type.shape)
    for batch in case.batches:
        source = torch.randn(batch, channels, height, width)
        array = source.numpy()
        if case.problem.operands[0].external:
            array = external_array(source, case)
            source = torch.from_numpy(array.astype(np.float32))
        top, bottom, left, right = attributes.padding
        padded = torch.nn.functional.pad(source.double(), (left, right, top, bottom))
        sums = torch.nn.functional.conv2d(
            padded, weight.double(), None, attributes.stride, 0, attributes.dilation, attributes.groups
        )
        shapes = {"channel": (sums.shape[1], 1, 1), "scalar": (1,), "element": sums.shape}
        operands = [torch.randn(shapes[access]) for access in EPILOGUES[case.epilogue][1]]
        expected = reference(case.epilogue, sums, [operand.double() for operand in operands])
        result = compiled(array, weight.numpy(), [operand.numpy() for operand in operands])
        context = f"{case.kernel.name} {case.problem.identity} {case.config} batch {batch}"
        assert_close(result, expected.numpy(), context)


def assert_close(result: np.ndarray, expected: np.ndarray, context: str) -> None:
    error = float(np.linalg.norm(result - expected)) / max(float(np.linalg.norm(expected)), 1e-6)
    assert error < 1e-5, f"{context}: relative error {error:.2e}"


def run(batch: list[Case]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        compiled = compile_kernels(Path(folder), [(case.kernel, case.problem, case.config) for case in batch])
        for case, kernel in zip(batch, compiled, strict=True):
            check(case, kernel)


PROPERTY = settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))


@needs_compiler
@PROPERTY
@given(st.lists(cases(cpu_direct.DIRECT), min_size=8, max_size=12))
def test_direct(batch: list[Case]) -> None:
    run(batch)


@needs_compiler
@PROPERTY
@given(st.lists(cases(cpu_winograd.WINOGRAD), min_size=5, max_size=8))
def test_winograd(batch: list[Case]) -> None:
    run(batch)


@needs_compiler
@PROPERTY
@given(st.lists(cases(cpu_lanewise.LANEWISE), min_size=5, max_size=8))
def test_lanewise(batch: list[Case]) -> None:
    run(batch)


@needs_compiler
def test_proposed_configurations_of_resnet_layers(tmp_path: Path) -> None:
    """What the tuner would see first, at full size, and that a wrong weight is noticed."""
    layers = [(3, 64, 64, 7, 2), (64, 56, 64, 3, 1), (64, 28, 128, 1, 2), (256, 14, 256, 3, 1)]
    requests = []
    for channels, size, results, taps, stride in layers:
        attributes = Conv2dAttributes((stride, stride), (taps // 2,) * 4)
        geometry = (2, channels, (size, size), results, (taps, taps), attributes)
        problem = conv_problem(*geometry, target=cpu_target(), external=channels == 3)
        for kernel in KERNELS:
            if kernel.supports(problem) is None:
                requests.append((kernel, problem, kernel.candidates(problem)[0].config))
    compiled = compile_kernels(tmp_path, requests)
    for (kernel, problem, config), function in zip(requests, compiled, strict=True):
        check(Case(kernel, problem, config, "none", (2, 3), "contiguous", False, 7), function)
    weight = np.zeros(requests[0][1].operands[1].type.shape, np.float32)
    wrong = compiled[0](np.ones((1, 3, 64, 64), np.float32), weight)
    with pytest.raises(AssertionError, match="relative error"):
        assert_close(wrong, np.ones_like(wrong), "negative control")


@needs_compiler
def test_external_input_of_an_integer_type_is_refused(tmp_path: Path) -> None:
    problem = conv_problem(1, 3, (8, 8), 4, (3, 3), Conv2dAttributes(), target=cpu_target(), external=True)
    kernel = cpu_direct.DIRECT
    (compiled,) = compile_kernels(tmp_path, [(kernel, problem, kernel.candidates(problem)[0].config)])
    run_once = compiled.prepare(np.ones((1, 3, 8, 8), np.float32), np.ones((4, 3, 3, 3), np.float32))
    run_once()
    original = compiled.function
    compiled.function = lambda p, s, dtype, *rest: original(p, s, 4, *rest)
    with pytest.raises(RuntimeError, match="int64; accepted are float32, float16 and bfloat16"):
        run_once()


def test_packed_weights_hold_every_weight_once() -> None:
    weight = np.arange(1, 1 + 6 * 2 * 3 * 1, dtype=np.float64).reshape(6, 2, 3, 1)
    packed = cpu_direct.pack_weight(weight, groups=2, block=8, width=4)
    assert packed.dtype == np.float32
    assert packed.size == 2 * 4 * 6
    assert sorted(packed[packed > 0]) == sorted(weight.ravel())
    assert packed[:4].tolist() == [weight[0, 0, 0, 0], weight[1, 0, 0, 0], weight[2, 0, 0, 0], 0]


def declined(problem: Problem) -> str:
    """The reason for which every kernel declines."""
    reasons = [kernel.supports(problem) for kernel in KERNELS]
    assert all(reasons), "some kernel accepted"
    return reasons[0].reason  # type: ignore[union-attr]


def test_what_is_declined_and_why() -> None:
    problem = conv_problem(1, 32, (8, 8), 32, (3, 3), Conv2dAttributes(), target=cpu_target())
    source, weight = problem.operands
    assert "run time" in declined(replace(problem, operands=(source, replace(weight, constant=False))))
    half = replace(source, type=source.type.with_dtype(DType.float16))
    assert "float16" in declined(replace(problem, operands=(half, weight)))
    assert "bias" in declined(replace(problem, operands=(source, weight, replace(weight, name="bias"))))
    flipped = replace(source, type=source.type.with_layout(row_major(4)))
    assert "layout" in declined(replace(problem, operands=(flipped, weight)))
    assert "int64" in declined(replace(problem, results=(problem.result.with_dtype(DType.int64),)))
    symbol = problem.result.shape[0]
    dynamic = replace(source, type=replace(source.type, shape=(1, 32, symbol, 8)))
    assert "only the batch" in declined(replace(problem, operands=(dynamic, weight)))

    strided = conv_problem(1, 32, (8, 8), 32, (3, 3), Conv2dAttributes((2, 2)), target=cpu_target())
    assert "3x3" in cpu_winograd.supports(strided).reason  # type: ignore[union-attr]
    narrow = conv_problem(1, 8, (8, 8), 32, (3, 3), Conv2dAttributes(), target=cpu_target())
    assert "channels" in cpu_winograd.supports(narrow).reason  # type: ignore[union-attr]
    external = replace(problem, operands=(replace(source, external=True), weight))
    assert "external" in cpu_winograd.supports(external).reason  # type: ignore[union-attr]
    assert "groups=1" in cpu_lanewise.supports(problem).reason  # type: ignore[union-attr]


def test_sources_are_deterministic() -> None:
    problem = conv_problem(4, 32, (8, 8), 32, (3, 3), Conv2dAttributes(), target=cpu_target())
    for kernel in KERNELS:
        if kernel.supports(problem) is None:
            first, again = kernel.candidates(problem), kernel.candidates(problem)
            assert first == again
            config = first[0].config
            assert kernel.emit("k", problem, config).text == kernel.emit("k", problem, config).text
