"""Pooling kernels for ``cpu``: windows over channels-last images, and means."""

from __future__ import annotations

from dataclasses import dataclass

from fx2ait_core.sdk import (
    Candidate,
    Decline,
    Dim,
    DType,
    Kernel,
    KernelSource,
    Problem,
    Templates,
    c_type,
    element_count,
)

from .mean_axes import (
    Loop,
    MeanLoops,
    inner_expression,
    inner_name,
    mean_decline,
    mean_label,
    offset_statements,
)
from .windows import WINDOWED, PoolShape, common_decline, label

TEMPLATES = Templates(__package__ or "fx2ait_pooling")
DTYPES = (DType.float32, DType.float16, DType.bfloat16)
PACKAGE = "fx2ait_pooling"
BYTES_PER_US = 8e3
ADDITIONS_PER_US = 8e3


@dataclass(frozen=True)
class OnlyConfig:
    """There is one way to run the kernel."""

    def __str__(self) -> str:
        return "vectors of channels"


def _supports(problem: Problem) -> Decline | None:
    return common_decline(problem, DTYPES)


def _candidates(problem: Problem) -> list[Candidate]:
    shape = PoolShape.of(problem, PACKAGE)
    moved = problem.size(problem.operands[0].type.byte_count) + problem.size(problem.result.byte_count)
    work = problem.size(problem.result.element_count) * shape.window
    return [Candidate(OnlyConfig(), moved / BYTES_PER_US + work / ADDITIONS_PER_US)]


def _discarded(problem: Problem, *used: Dim) -> list[str]:
    """Parameters of the launcher that its body does not name; the compiler warns of them."""
    named = set().union(*(getattr(dim, "free_symbols", set()) for dim in used))
    return ["workspace", *(s for s, _ in problem.symbols if s not in {free.name for free in named})]


def _emit(name: str, problem: Problem, config: OnlyConfig) -> KernelSource:
    source = problem.operands[0]
    shape = PoolShape.of(problem, PACKAGE)
    text = TEMPLATES.kernel(
        "cpu/pool.cpp.jinja",
        name,
        problem,
        shape=shape,
        source=source,
        element=c_type(source.type, problem),
        discarded=_discarded(problem, shape.batch),
    )
    return KernelSource(text, headers=TEMPLATES.headers("cpu/pool.h"))


def _mean_candidates(problem: Problem) -> list[Candidate]:
    moved = problem.size(problem.operands[0].type.byte_count)
    return [Candidate(OnlyConfig(), moved / BYTES_PER_US)]


def _mean_emit(name: str, problem: Problem, config: OnlyConfig) -> KernelSource:
    source = problem.operands[0]
    loops = MeanLoops.of(problem)
    # Averaged neighbours are read in rows; else rows of results are, one averaged element at a time.
    rows: tuple[Loop, ...] = loops.reduced[:-1] if loops.inner_is_reduced else loops.reduced
    symbols = [name for name, _ in problem.symbols]
    taken = [f"[[maybe_unused]] int64_t {inner_name(symbol)}" for symbol in symbols]
    passed = [inner_name(symbol) for symbol in symbols]
    known = f"const {c_type(source.type, problem)}*"
    if source.external:
        taken.insert(0, f"[[maybe_unused]] const fx2ait::ExternalTensor& {source.name}")
        passed.insert(0, source.name)
    text = TEMPLATES.kernel(
        "cpu/mean.cpp.jinja",
        name,
        problem,
        inner_is_reduced=loops.inner_is_reduced,
        kept=offset_statements(loops.kept, "index", "offset", "int64_t"),
        reduced_rows=offset_statements(rows, "index", "offset", "int64_t"),
        kept_count=inner_expression(loops.kept_count),
        kept_rows=inner_expression(element_count(tuple(loop.size for loop in loops.kept[:-1]))),
        kept_size=inner_expression(loops.kept[-1].size),
        kept_stride=_text(loops.kept[-1]),
        reduced_count=inner_expression(loops.reduced_count),
        row_count=inner_expression(element_count(tuple(loop.size for loop in rows))),
        row_size=inner_expression(loops.reduced[-1].size),
        row_stride=_text(loops.reduced[-1]),
        arguments="".join(f", {argument}" for argument in taken),
        passed="".join(f", {argument}" for argument in passed),
        symbols="".join(f", [[maybe_unused]] int64_t {inner_name(symbol)}" for symbol in symbols),
        passed_symbols="".join(f", {symbol}" for symbol in symbols),
        input_type="const fx2ait::ExternalTensor&" if source.external else known,
    )
    return KernelSource(text)


def _text(loop: Loop) -> str:
    return loop.stride if isinstance(loop.stride, str) else f"({inner_expression(loop.stride)})"


KERNELS = [
    *(
        Kernel(
            name=f"{kind.split('.')[-1]}_cpu",
            operator=kind,
            target="cpu",
            candidates=_candidates,
            emit=_emit,
            label=label,
            supports=_supports,
            external_operands=frozenset({0}),
        )
        for kind in WINDOWED
    ),
    Kernel(
        name="mean_cpu",
        operator="pooling.mean",
        target="cpu",
        candidates=_mean_candidates,
        emit=_mean_emit,
        label=mean_label,
        supports=lambda problem: mean_decline(problem, DTYPES),
        external_operands=frozenset({0}),
    ),
]
