"""The C++ around candidates that are measured: their callers and the clock."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...emit.launcher import c_type, signature
from ...emit.units import Member, grouped, unit_files
from ...extend.problem import OperandSpec, Problem
from ...target.backend import Backend, header_texts
from ...tune.offers import JOB_NAME, Job

_EMIT_HEADERS = Path(__file__).parents[2] / "emit" / "include"
_CLOCKS = {".cpp": "fx2ait/measure_cpu.h", ".cu": "fx2ait/measure_cuda.h"}


def can_measure(backend: Backend) -> bool:
    """Whether there is a clock for the target's kind of sources."""
    return backend.source_suffix in _CLOCKS


def libraries_of(jobs: Sequence[Job]) -> list[list[int]]:
    """Positions of jobs by the library that they share: those whose kernels may share a unit.

    Libraries that take longest to compile come first, so that no processor is left with one at the end.
    """
    groups = grouped(
        Member(
            (job.offer.kernel.name, external_type(job.problem), tuple(sorted(job.source.headers.items()))),
            job.source.text,
            job.source.effort,
        )
        for job in jobs
    )
    return sorted(groups, key=lambda group: -jobs[group[0]].source.effort)


def measured_tree(jobs: Sequence[Job], backend: Backend) -> dict[str, bytes]:
    """Sources of a library that times ``jobs``: kernels with their callers, the clock, and all headers.

    The caller of the n-th job is ``fx2ait_call_<n>``. Several jobs must be those of one library in
    :func:`libraries_of`.
    """
    suffix = backend.source_suffix
    headers = header_texts(_EMIT_HEADERS) | header_texts(Path(__file__).parent)
    headers |= dict(backend.headers()) | dict(jobs[0].source.headers)
    kernels = {
        f"kernels/candidate_{n}{suffix}": re.sub(rf"\b{JOB_NAME}\b", launcher_name(n), job.source.text)
        for n, job in enumerate(jobs)
    }
    unit = f"kernels/unit{suffix}"
    # A kernel that is alone may define macros and all else that cannot be in a namespace.
    if len(jobs) > 1:
        kernels = unit_files(unit, kernels, jobs[0].offer.kernel.name)
    else:
        unit = next(iter(kernels))
    parts = []
    if external := external_type(jobs[0].problem):
        parts += ["// Of tensors that callers own, those that are measured with are of this type.",
                  f"#define FX2AIT_EXTERNAL_TYPE {external}"]  # fmt: skip
    parts += [f"#include {name}" for name in backend.type_includes]
    parts += [f'#include "{unit}"', *(caller(n, job.problem) for n, job in enumerate(jobs))]
    tree = {f"include/{path}": text for path, text in headers.items()} | kernels
    tree[f"candidates{suffix}"] = "\n".join(parts)
    tree["clock.cpp"] = clock(jobs[0].problem, backend)
    return {path: text.encode() for path, text in tree.items()}


def external_type(problem: Problem) -> str | None:
    """The element type of the problem's external operands in C++, if they have one."""
    operands = [*problem.operands, *problem.epilogue_operands]
    types = {c_type(operand.type, problem) for operand in operands if operand.external}
    return types.pop() if len(types) == 1 else None


def launcher_name(number: int) -> str:
    """What the launcher of a library's n-th job is called there."""
    return f"{JOB_NAME}_{number}"


def caller(number: int, problem: Problem) -> str:
    """``fx2ait_call_<number>``, which calls a launcher with buffers that the host made."""
    context = problem.target["launch_context"]
    arguments = ",\n      ".join([*_arguments(problem), context.split()[-1]])
    return f"""
{signature(launcher_name(number), problem)};

extern "C" __attribute__((visibility("default"))) void fx2ait_call_{number}(
    void* const* given, [[maybe_unused]] const int64_t* sizes, {context}) {{
  {launcher_name(number)}(
      {arguments});
}}
"""


def clock(problem: Problem, backend: Backend) -> str:
    """``fx2ait_measure``, which times a caller; its text is the same for all candidates of a target."""
    includes = "\n".join(f"#include {name}" for name in backend.type_includes)
    return f"""// Times callers of launchers.
#include <cstdint>
#include <exception>
#include <string>

{includes}
#include "{_CLOCKS[backend.source_suffix]}"

using Caller = void (*)(void* const* given, const int64_t* sizes, {problem.target["launch_context"]});

/// Writes the microseconds of a call and returns null, or returns why it failed. `arguments` are
/// the launcher's, `count` in each set, one set after the other; `sizes` are those of the dynamic symbols.
extern "C" __attribute__((visibility("default"))) const char* fx2ait_measure(
    Caller caller, void* const* arguments, int64_t sets, int64_t count, const int64_t* sizes, int64_t device,
    int64_t threads, float* microseconds) {{
  static thread_local std::string failure;
  try {{
    *microseconds = fx2ait::measure(sets, device, threads, [&](int64_t set, auto& context) {{
      caller(arguments + set * count, sizes, context);
    }});
    return nullptr;
  }} catch (const std::exception& error) {{
    failure = error.what();
  }} catch (...) {{
    failure = "an exception of unknown type";
  }}
  return failure.c_str();
}}
"""


def buffer_count(problem: Problem) -> int:
    """Pointers in one set of a launcher's arguments: results, operands, epilogue operands, workspace."""
    return len(problem.results) + len(problem.operands) + len(problem.epilogue_operands) + 1


def _arguments(problem: Problem) -> Iterable[str]:
    """Expressions for the launcher's parameters, all but the context."""
    index = 0
    for result in problem.results:
        yield f"static_cast<{c_type(result, problem)}*>(given[{index}])"
        index += 1
    for operand in (*problem.operands, *problem.epilogue_operands):
        yield _operand(operand, index, problem)
        index += 1
    yield f"given[{index}]"
    for position in range(len(problem.symbols)):
        yield f"sizes[{position}]"


def _operand(operand: OperandSpec, index: int, problem: Problem) -> str:
    if operand.external:
        return f"*static_cast<const fx2ait::ExternalTensor*>(given[{index}])"
    return f"static_cast<const {c_type(operand.type, problem)}*>(given[{index}])"
