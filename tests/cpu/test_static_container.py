"""A container without dynamic sizes, constants or workspaces, whose ports are channels-last and exact."""

import ctypes
import shutil
import subprocess
from ctypes import POINTER, c_bool, c_char_p, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path

import ninja
import numpy as np
import pytest

from fx2ait_core.emit.emit import emit
from fx2ait_core.emit.launcher import signature
from fx2ait_core.extend.contributions import KernelSource
from fx2ait_core.extend.problem import OperandSpec, Problem
from fx2ait_core.ir.dtypes import DType
from fx2ait_core.ir.layouts import channels_last
from fx2ait_core.ir.operator import NO_ATTRIBUTES
from fx2ait_core.ir.pointwise import PointwiseProgram
from fx2ait_core.ir.types import tensor_type
from fx2ait_core.plan.plan import BucketPlan, Launch, Location, MemoryReport, Plan, PlannedKernel, Port
from fx2ait_core.runtime.library import tensor_array

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")

SHAPE = (2, 3, 4, 5)
TEXT = """
#include "fx2ait/cpu/thread_pool.h"

{signature} {{
  pool.parallel_for(120, [&](int64_t begin, int64_t end) {{
    for (int64_t i = begin; i < end; ++i) result0[i] = x[i] + static_cast<float>(step[0]);
  }});
  result1[0] = step[0] + 1;
}}
"""


class AITData(ctypes.Structure):
    _fields_ = (("ptr", c_void_p), ("shape", POINTER(c_int64)), ("rank", c_size_t), ("dtype", c_int))


@pytest.fixture(scope="module")
def library(tmp_path_factory, cpu_target):
    backend, target = cpu_target
    image = tensor_type(SHAPE, DType.float32, channels_last(4))
    scalar = tensor_type((), DType.int64)
    operands = (OperandSpec("x", image), OperandSpec("step", scalar))
    problem = Problem("test.add", NO_ATTRIBUTES, operands, PointwiseProgram(1), (), (image, scalar), target)
    source = KernelSource(TEXT.format(signature=signature("add", problem)))
    kernel = PlannedKernel("add", "plain_add", "fx2ait-test", "()", "heuristic", source, problem)
    launch = Launch(
        *("add", "the node", ""),
        results=(Location("output", 0), Location("output", 1)),
        operands=(Location("input", 0), Location("input", 1)),
        workspace=None,
    )
    plan = Plan(
        name='"odd" \\ name?',
        target=target,
        precision="float32",
        symbols=(),
        inputs=(Port("image", image), Port("step", scalar)),
        outputs=(Port("moved", image), Port("next", scalar)),
        kernels=(kernel,),
        constants=(),
        buckets=(BucketPlan((), (launch,), MemoryReport(0, 0, 0, 0)),),
        plugins=(),
    )
    folder = emit(plan, backend).write(tmp_path_factory.mktemp("static") / "tree")
    words = [Path(ninja.BIN_DIR) / "ninja"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    loaded = ctypes.CDLL(str(next(folder.glob("*.so"))))
    loaded.Fx2aitGetLastError.restype = c_char_p
    return loaded


@pytest.fixture
def run(library):
    handle = c_void_p()
    assert library.AITemplateModelContainerCreate(ctypes.byref(handle), c_size_t(1), None) == 0

    def call(inputs, outputs):
        arrays = []
        for group in (inputs, outputs):
            strides = [[s // a.itemsize for s in a.strides] for a in group]
            made = tensor_array(
                [a.shape for a in group], strides, [2 if a.dtype == np.float32 else 4 for a in group]
            )
            for slot, array in zip(made, group, strict=True):
                slot.ptr = array.ctypes.data
            arrays.append(made)
        code = library.Fx2aitRun(
            handle, arrays[0], c_size_t(len(inputs)), arrays[1], c_size_t(len(outputs)), None, c_bool(False)
        )
        return None if code == 0 else library.Fx2aitGetLastError().decode()

    call.handle = handle
    yield call
    assert library.AITemplateModelContainerDelete(handle) == 0


def nhwc(array):
    """The same logical tensor, channels-last in memory."""
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)


def test_it_runs_in_its_ports_layout(run):
    x, step = nhwc(np.random.default_rng().standard_normal(SHAPE).astype(np.float32)), np.array(3)
    moved, following = nhwc(np.zeros(SHAPE, np.float32)), np.array(0)
    assert run([x, step], [moved, following]) is None
    assert np.array_equal(moved, x + 3)
    assert following == 4


def test_an_exact_input_is_taken_in_its_layout_only(run):
    x, step = np.zeros(SHAPE, np.float32), np.array(3)
    outputs = [nhwc(x), np.array(0)]
    assert run([x, step], outputs) == (
        'input 0 "image" has strides [60, 20, 5, 1]; accepted for shape [2, 3, 4, 5] is [60, 1, 15, 3].'
    )
    assert "image" in run([x[:, :, :, :4], step], outputs)
    assert "output 0" in run([nhwc(x), step], [x, np.array(0)])


def test_a_dense_host_cannot_give_channels_last(library, run):
    x, step = np.zeros(SHAPE, np.float32), np.array(3)
    four, none = (c_int64 * 4)(*SHAPE), (c_int64 * 1)()
    given = [AITData(x.ctypes.data, four, 4, 2), AITData(step.ctypes.data, none, 0, 4)]
    pair = (AITData * 2)(*given)
    arguments = [pair, c_size_t(2), pair, c_size_t(2), None, c_bool(True), c_bool(False), None]
    assert library.AITemplateModelContainerRun(run.handle, *arguments) == 1
    assert b"has strides" in library.Fx2aitGetLastError()


def test_there_is_nothing_to_list(library, run):
    count = c_size_t(9)
    arguments = [c_bool(False), c_bool(False), ctypes.byref(count)]
    assert library.AITemplateModelContainerGetNumConstants(run.handle, *arguments) == 0
    assert count.value == 0
    node = c_char_p()
    assert library.Fx2aitGetLaunchName(run.handle, c_size_t(0), c_size_t(0), ctypes.byref(node), None) == 0
    assert node.value == b"the node"
