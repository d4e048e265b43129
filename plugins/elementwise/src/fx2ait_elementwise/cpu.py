"""Concatenation for ``cpu``: runs of memory copied by all threads."""

from __future__ import annotations

from dataclasses import dataclass

from fx2ait_core.sdk import Candidate, Dim, Kernel, KernelSource, Problem, Templates

from .operators import Concat
from .runs import Runs, decline, label

TEMPLATES = Templates(__package__ or "fx2ait_elementwise")
BYTES_PER_US = 8e3
MOST_OPERANDS = 1000


@dataclass(frozen=True)
class CopyConfig:
    """There is one way to run the kernel."""

    def __str__(self) -> str:
        return "copies of runs"


def _candidates(problem: Problem) -> list[Candidate]:
    return [Candidate(CopyConfig(), 2 * problem.size(problem.result.byte_count) / BYTES_PER_US)]


def _emit(name: str, problem: Problem, config: CopyConfig) -> KernelSource:
    runs = Runs.of(problem)
    dims: list[Dim] = [runs.outer, runs.row]
    named = {symbol.name for dim in dims if not isinstance(dim, int) for symbol in dim.free_symbols}
    text = TEMPLATES.kernel(
        "cpu/concat.cpp.jinja",
        name,
        problem,
        runs=runs.pieces,
        outer=runs.outer,
        row=runs.row,
        itemsize=problem.result.dtype.itemsize,
        discarded=["workspace", *(symbol for symbol, _ in problem.symbols if symbol not in named)],
    )
    return KernelSource(text)


KERNELS = [
    Kernel(
        name="concat_cpu",
        operator=Concat.kind,
        target="cpu",
        candidates=_candidates,
        emit=_emit,
        label=label,
        supports=lambda problem: decline(problem, MOST_OPERANDS),
    )
]
