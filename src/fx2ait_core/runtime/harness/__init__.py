"""The C++ around a candidate that is measured: the launcher's caller and the clock."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...emit.launcher import c_type, signature
from ...extend.problem import OperandSpec, Problem
from ...target.backend import Backend, header_texts
from ...tune.offers import JOB_NAME, Job

_EMIT_HEADERS = Path(__file__).parents[2] / "emit" / "include"
_CLOCKS = {".cpp": "fx2ait/measure_cpu.h", ".cu": "fx2ait/measure_cuda.h"}


def can_measure(backend: Backend) -> bool:
    """Whether there is a clock for the target's kind of sources."""
    return backend.source_suffix in _CLOCKS


def measured_tree(job: Job, backend: Backend) -> dict[str, bytes]:
    """Sources of a library that times ``job``: the kernel, its caller, and all headers."""
    headers = header_texts(_EMIT_HEADERS) | header_texts(Path(__file__).parent)
    headers |= dict(backend.headers()) | dict(job.source.headers)
    tree = {f"include/{path}": text for path, text in headers.items()}
    tree[f"kernel{backend.source_suffix}"] = job.source.text
    tree[f"caller{backend.source_suffix}"] = caller(job.problem, backend)
    return {path: text.encode() for path, text in tree.items()}


def caller(problem: Problem, backend: Backend) -> str:
    """``fx2ait_measure``, which calls the launcher with buffers that the host made.

    The text depends on the launcher's signature alone, so most candidates share one object.
    """
    includes = "\n".join(f"#include {name}" for name in backend.type_includes)
    arguments = ",\n                    ".join([*_arguments(problem), "context"])
    return f"""// Times the launcher `{JOB_NAME}`.
#include <cstdint>
#include <exception>
#include <string>

{includes}
#include "{_CLOCKS[backend.source_suffix]}"

{signature(JOB_NAME, problem)};

/// Writes the microseconds of a call and returns null, or returns why it failed. `arguments` are
/// the launcher's, one set after the other; `sizes` are those of the dynamic symbols.
extern "C" __attribute__((visibility("default"))) const char* fx2ait_measure(
    void* const* arguments, int64_t sets, [[maybe_unused]] const int64_t* sizes, int64_t device,
    int64_t threads, float* microseconds) {{
  static thread_local std::string failure;
  try {{
    *microseconds = fx2ait::measure(sets, device, threads, [&](int64_t set, auto& context) {{
      void* const* const given = arguments + set * {_buffer_count(problem)};
      {JOB_NAME}({arguments});
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


def _buffer_count(problem: Problem) -> int:
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
