"""Concatenation for ``cuda``: one launch copies all operands, in words as wide as the runs allow."""

from __future__ import annotations

from dataclasses import dataclass

from fx2ait_core.sdk import Candidate, Kernel, KernelSource, Problem, Templates, evaluate

from .operators import Concat
from .runs import Runs, decline, label

TEMPLATES = Templates(__package__ or "fx2ait_elementwise")
LAUNCH_US = 2.0
MOST_OPERANDS = 100
"""What fits into a kernel's parameters."""
WORDS = {16: "uint4", 8: "uint2", 4: "uint32_t", 2: "uint16_t", 1: "uint8_t"}


@dataclass(frozen=True)
class WordConfig:
    """``bytes`` that a thread copies at once."""

    bytes: int

    def __str__(self) -> str:
        return f"words of {self.bytes} bytes"


def _candidates(problem: Problem) -> list[Candidate]:
    runs, itemsize = Runs.of(problem), problem.result.dtype.itemsize
    widest = next(b for b in WORDS if b == itemsize or (b > itemsize and runs.divisible(b // itemsize)))
    moved = 2 * problem.size(problem.result.byte_count)
    bandwidth = problem.target["memory_gbps"] * 1e3 * (0.8 if widest >= 8 else 0.5)
    return [Candidate(WordConfig(widest), LAUNCH_US + moved / bandwidth)]


def _emit(name: str, problem: Problem, config: WordConfig) -> KernelSource:
    runs = Runs.of(problem)
    bounds = {symbol: bounds.max for symbol, bounds in problem.symbols}
    wide = evaluate(problem.result.element_count, bounds) >= 2**31 - 2**16
    text = TEMPLATES.kernel(
        "cuda/concat.cu.jinja",
        name,
        problem,
        word=WORDS[config.bytes],
        elements=config.bytes // problem.result.dtype.itemsize,
        index="int64_t" if wide else "unsigned",
        dependent=str(problem.target["compute_capability"] >= 90).lower(),
        runs=runs.pieces,
        outer=runs.outer,
        row=runs.row,
    )
    return KernelSource(text)


KERNELS = [
    Kernel(
        name="concat_cuda",
        operator=Concat.kind,
        target="cuda",
        candidates=_candidates,
        emit=_emit,
        label=label,
        supports=lambda problem: decline(problem, MOST_OPERANDS),
    )
]
