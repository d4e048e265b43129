"""Measuring candidates with the real compiler and clock."""

import dataclasses
import shutil

import numpy as np
import pytest

from fx2ait_core.build.library import build
from fx2ait_core.emit.launcher import signature
from fx2ait_core.errors import BuildError
from fx2ait_core.extend.contributions import Candidate, Kernel, KernelSource
from fx2ait_core.extend.problem import OperandSpec, Problem
from fx2ait_core.ir.dims import DimRange, symbol
from fx2ait_core.ir.dtypes import DType
from fx2ait_core.ir.fused import FusedPointwise, ProgramAttributes
from fx2ait_core.ir.layouts import channels_last
from fx2ait_core.ir.operator import NO_ATTRIBUTES
from fx2ait_core.ir.pointwise import PointwiseProgram, PointwiseStep
from fx2ait_core.ir.types import tensor_type
from fx2ait_core.runtime.harness import libraries_of, measured_tree
from fx2ait_core.runtime.measure import compiled_identity, measurer, tuning_device
from fx2ait_core.settings import Settings
from fx2ait_core.target.cpu import CpuBackend
from fx2ait_core.target.cuda import CudaBackend
from fx2ait_core.tune.cache import TuningCache
from fx2ait_core.tune.offers import Failed, Job, Offer, Timed
from fx2ait_core.tune.selection import select

BATCH = symbol("batch")
BODY = """
#include <chrono>
#include <stdexcept>
#include "fx2ait/cpu/thread_pool.h"
#include "fx2ait/cpu/vector.h"
#include "fx2ait/error.h"
#include "fx2ait/external_tensor.h"

{signature} {{
  (void)workspace; (void)pool; (void)result;
  {body}
}}
"""
WAIT = """
  const auto end = std::chrono::steady_clock::now() + std::chrono::microseconds({});
  while (std::chrono::steady_clock::now() < end) {{}}
  (void)x; (void)weight; (void)batch; (void)e0;
"""
CHECK = """
  if (batch != 4) throw fx2ait::Error("wrong batch");
  if (x.dtype != fx2ait::DType::float32) throw fx2ait::Error("wrong dtype");
  if (x.strides[0] != 6 || x.strides[1] != 3 || x.strides[2] != 1) throw fx2ait::Error("wrong strides");
  for (int i = 0; i < 7; ++i) if (weight[i] != static_cast<float>(i)) throw fx2ait::Error("wrong weight");
  if (*static_cast<const int*>(workspace) != 0) throw fx2ait::Error("dirty workspace");
  for (const void* p : {static_cast<const void*>(result), x.data, static_cast<const void*>(weight),
                        static_cast<const void*>(e0), static_cast<const void*>(workspace)}) {
    if (reinterpret_cast<uintptr_t>(p) % 256 != 0) throw fx2ait::Error("not aligned");
  }
  float sum = 0;
  for (int64_t i = 0; i < batch * 6; ++i) sum += static_cast<const float*>(x.data)[i] * e0[i % 2];
  if (sum == 0) throw fx2ait::Error("no data");
  for (int64_t i = 0; i < batch * 6; ++i) result[i] = 1.0f;
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return Settings(cache_dir=tmp_path_factory.mktemp("cache"), threads=2)


@pytest.fixture(scope="module")
def target(settings):
    return CpuBackend().detect(None, settings)


def problem(target, batch=4):
    image = tensor_type((BATCH, 2, 3), DType.float32)
    operands = (
        OperandSpec("x", image, external=True),
        OperandSpec("weight", tensor_type((2, 3), DType.float32), constant=True),
    )
    scale = OperandSpec("scale", tensor_type((2, 1), DType.float32))
    return Problem(
        "test.kind",
        NO_ATTRIBUTES,
        operands,
        PointwiseProgram(2, (PointwiseStep("test.mul", "{0} * {1}", (0, 1)),)),
        (scale,),
        (image,),
        target,
        (("batch", DimRange(1, 8)),),
        (("batch", batch),),
    )


def pack(array):
    assert array.shape == (2, 3)
    return np.arange(7, dtype=np.float32)


def kernel_of(bodies):
    def emit(name, problem, config):
        text = BODY.format(signature=signature(name, problem), body=bodies[config])
        return KernelSource(text, packings={1: pack}, workspace=BATCH * 4)

    return Kernel("test", "test.kind", "cpu", lambda p: [], emit, lambda p, c: "test")


def offers_of(bodies):
    kernel = kernel_of(bodies)
    return [Offer(kernel, "fx2ait-test", Candidate(config, 1.0)) for config in range(len(bodies))]


def jobs_of(problem, bodies):
    made = []
    for offer in offers_of(bodies):
        source = offer.kernel.emit("candidate", problem, offer.candidate.config)
        made.append(Job(problem, offer, source))
    return made


def test_launchers_get_what_the_contract_promises(settings, target):
    measure = measurer(CpuBackend(), target, settings)
    (result,) = measure(jobs_of(problem(target), [CHECK]))
    assert isinstance(result, Timed) and 0 < result.microseconds < 1e5
    assert (result.answer == 1).all(), "the launcher's result"


def test_times_are_true_and_failures_are_results(settings, target):
    bodies = [
        WAIT.format(300),
        '(void)x; (void)weight; (void)batch; (void)e0; throw std::runtime_error("I refuse");',
        "this is no C++",
        WAIT.format(900),
    ]
    seen = []
    results = list(measurer(CpuBackend(), target, settings, seen.append)(jobs_of(problem(target), bodies)))
    assert 300 <= results[0].microseconds < results[3].microseconds >= 900
    assert results[1] == Failed("I refuse")
    assert isinstance(results[2], Failed) and "candidate_0.cpp" in results[2].reason
    assert results[1].lasting and not results[2].lasting, "another compiler, or more memory, may do it"
    assert [(p.done, p.total) for p in seen if p.stage == "measure"] == [(n, 4) for n in range(1, 5)]
    compiled = [p.unit for p in seen if p.stage == "compile"]
    assert sum("clock.cpp" in unit for unit in compiled) <= 1, "one clock serves all candidates"


def test_candidates_of_a_family_are_compiled_together_and_once(settings, target):
    bodies = [WAIT.format(us) for us in (210, 220, 230)]
    bodies.append("(void)x; (void)weight; (void)batch; (void)e0;\n#define LEFT_BEHIND 1")
    seen = []
    measure = measurer(CpuBackend(), target, settings, seen.append)
    jobs = jobs_of(problem(target), bodies)
    first = list(measure(jobs))
    assert all(isinstance(time, Timed) for time in first)
    times = [timed.microseconds for timed in first]
    assert 210 <= times[0] < times[1] < times[2], "each one's own launcher is timed"
    compiled = [p.unit for p in seen if p.stage == "compile"]
    assert sum("candidates.cpp" in unit for unit in compiled) == 2, (
        "three together, the one with a macro alone"
    )
    seen.clear()
    other_batch = [dataclasses.replace(job, problem=problem(target, batch=3)) for job in jobs[:2]]
    assert all(isinstance(time, Timed) for time in measure([jobs[2], *other_batch]))
    assert not [p for p in seen if p.stage == "compile"], "other rounds and sizes reuse what is built"


def test_what_fails_among_others_is_the_failure_of_one(settings, target):
    broken = 'static_assert(sizeof(result) == 1, "odd");'
    results = list(
        measurer(CpuBackend(), target, settings)(
            jobs_of(problem(target), [WAIT.format(215), broken, WAIT.format(225)])
        )
    )
    assert isinstance(results[1], Failed) and "odd" in results[1].reason
    assert 215 <= results[0].microseconds < results[2].microseconds


def test_the_whole_way_to_a_choice(settings, target):
    asked = problem(target)
    offers = offers_of([WAIT.format(500), WAIT.format(100), "nonsense"])
    device = tuning_device(CpuBackend(), target, settings)
    measure = measurer(CpuBackend(), target, settings)
    cache = TuningCache(None)
    with pytest.warns(RuntimeWarning, match=r"test 2 is skipped for test\.kind: Compiling candidates\.cpp"):
        choice = select(asked, offers, measure, cache, device)
    assert (choice.candidate.config, choice.choice) == (1, "measured")
    assert select(asked, offers, None, cache, device).choice == "cached"


def test_a_wrong_answer_is_not_chosen(settings, target):
    scaled = """
  for (int64_t i = 0; i < batch * 6; ++i) result[i] = static_cast<const float*>(x.data)[i] * e0[i % 2];
  (void)weight;
"""
    wrong = scaled.replace("e0[i % 2]", "e0[i == 11 ? 0 : i % 2]").replace("i < batch * 6", "i < 20")
    offers = offers_of([wrong, WAIT.format(100) + scaled, WAIT.format(200) + scaled])
    measure = measurer(CpuBackend(), target, settings)
    device = tuning_device(CpuBackend(), target, settings)
    with pytest.warns(RuntimeWarning, match=r"test 0 is skipped for test\.kind: wrong answer"):
        choice = select(problem(target), offers, measure, TuningCache(None), device)
    assert choice.candidate.config == 1


def test_a_packing_that_fails_is_the_candidate_s_failure(settings, target):
    (job,) = jobs_of(problem(target), [CHECK])
    source = dataclasses.replace(job.source, packings={1: lambda array: array / None})
    (result,) = measurer(CpuBackend(), target, settings)([dataclasses.replace(job, source=source)])
    assert isinstance(result, Failed) and "packing" in result.reason and "TypeError" in result.reason


def test_no_clock_without_the_device(settings, target):
    poorer = dataclasses.replace(target, features=target.features | {"avx1024"})
    assert measurer(CpuBackend(), poorer, settings) is None

    class Strange(CpuBackend):
        source_suffix = ".metal"

    assert measurer(Strange(), target, settings) is None


def test_where_times_hold(settings, target):
    device = tuning_device(CpuBackend(), target, settings)
    assert "2 threads" in device.name
    other = dataclasses.replace(target, properties={**target.properties, "threads": 1})
    assert tuning_device(CpuBackend(), other, settings) != device
    arch = dataclasses.replace(target, arch="x86-64")
    assert tuning_device(CpuBackend(), arch, settings).compiler != device.compiler


def reading_the_callers(dtype, card):
    """A job whose input is the caller's own tensor of ``dtype``."""
    image = tensor_type((BATCH, 8, 5, 7), DType.float16, channels_last(4))
    asked = Problem(
        FusedPointwise.kind,
        ProgramAttributes(PointwiseProgram(1)),
        (OperandSpec("x", tensor_type((BATCH, 8, 5, 7), dtype), external=True),),
        PointwiseProgram(1),
        (),
        (image,),
        card,
        (("batch", DimRange(1, 8)),),
        (("batch", 4),),
    )
    kernel = CudaBackend().kernels()[0]
    candidate = kernel.candidates(asked)[0]
    return Job(asked, Offer(kernel, "core", candidate), kernel.emit("candidate", asked, candidate.config))


def test_candidates_are_compiled_for_the_one_type_that_the_callers_tensors_have(settings):
    card = CudaBackend().detect("sm_90a", settings)
    wide, narrow, again = (
        reading_the_callers(dtype, card) for dtype in (DType.float32, DType.float16, DType.float32)
    )
    assert libraries_of([wide, narrow, again]) == [[0, 2], [1]]
    assert compiled_identity(wide) == compiled_identity(again) != compiled_identity(narrow)
    for job, type in ((wide, "float"), (narrow, "__half")):
        text = measured_tree([job], CudaBackend())["candidates.cu"].decode()
        defined = text.index(f"#define FX2AIT_EXTERNAL_TYPE {type}\n")
        assert defined < text.index("#include"), "headers see it"


def test_libraries_that_take_longest_come_first(target):
    jobs = jobs_of(problem(target), [WAIT.format(us) for us in range(6)])
    slow = dataclasses.replace(jobs[4], source=dataclasses.replace(jobs[4].source, effort=9))
    assert libraries_of([*jobs[:4], slow, jobs[5]]) == [[4], [0, 1], [2, 3, 5]]


@pytest.mark.nvcc
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_the_clock_of_cuda_compiles(settings, arch):
    backend = CudaBackend()
    card = backend.detect(arch, settings)
    tree = measured_tree([reading_the_callers(DType.float32, card)], backend)
    try:
        assert build(tree, backend, card, settings).compiled == 2
    except BuildError as error:
        pytest.fail(str(error))
