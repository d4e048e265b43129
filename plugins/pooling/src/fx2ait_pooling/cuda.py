"""Pooling kernels for ``cuda``: windows over channels-last images, and means."""

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
    evaluate,
)

from .mean_axes import (
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
LAUNCH_US = 2.0
LOAD_US = 0.7  # latency of one load that depends on nothing


@dataclass(frozen=True)
class PoolConfig:
    """``vector`` channels per thread; ``lanes`` vectors by ``parts`` of a window in a block."""

    vector: int
    lanes: int = 1
    parts: int = 1

    def __str__(self) -> str:
        if self.parts == 1:
            return f"{self.vector} channels per thread"
        return f"{self.vector} channels x {self.lanes}, windows in {self.parts} parts"


def _supports(problem: Problem) -> Decline | None:
    return common_decline(problem, DTYPES)


def _vector(problem: Problem) -> int:
    """Channels that one 16-byte access brings; external inputs are read one by one."""
    source = problem.operands[0]
    if source.external:
        return 1
    channels, itemsize = PoolShape.of(problem, PACKAGE).channels, source.type.dtype.itemsize
    return next(v for v in (8, 4, 2, 1) if channels % v == 0 and v * itemsize <= 16)


def _candidates(problem: Problem) -> list[Candidate]:
    """Whole windows per thread, and large windows shared by the threads of a block."""
    shape, vector = PoolShape.of(problem, PACKAGE), _vector(problem)
    source = problem.operands[0].type
    bandwidth = problem.target["memory_gbps"] * 1e3 * 0.8
    moved = (problem.size(source.byte_count) + problem.size(problem.result.byte_count)) / bandwidth
    slots = problem.target["multiprocessors"] * 2048
    threads = problem.size(shape.batch) * shape.out_height * shape.out_width * shape.channels // vector

    def estimate(parts: int) -> float:
        waves = max(1.0, threads * parts / slots)
        steps = -(-shape.window // parts)
        return LAUNCH_US + max(moved, LOAD_US * waves * (1 + steps / 8) + (parts > 1) * 0.5)

    found = [Candidate(PoolConfig(vector), estimate(1))]
    if shape.window >= 16:
        vectors = shape.channels // vector
        lanes = next(
            lanes for lanes in (32, 16, 8, 4, 2, 1) if lanes <= max(1, vectors) and lanes * vector <= 64
        )
        for parts in (8, 32):
            if parts * lanes <= 512 and parts <= shape.window:
                found.append(Candidate(PoolConfig(vector, lanes, parts), estimate(parts)))
    return sorted(found, key=lambda candidate: candidate.estimate_us)


def _index(problem: Problem, *counts: Dim) -> str:
    """The integer type that counts every element at every size of the dynamic symbols."""
    bounds = {name: bounds.max for name, bounds in problem.symbols}
    return "int64_t" if any(evaluate(count, bounds) >= 2**31 - 2**16 for count in counts) else "unsigned"


def _emit(name: str, problem: Problem, config: PoolConfig) -> KernelSource:
    source = problem.operands[0]
    shape = PoolShape.of(problem, PACKAGE)
    dense = f"DenseInput<{c_type(source.type, problem)}, {shape.height}, {shape.width}, {shape.channels}>"
    text = TEMPLATES.kernel(
        "cuda/pool.cu.jinja",
        name,
        problem,
        shape=shape,
        config=config,
        index=_index(problem, problem.result.element_count),
        dependent=_dependent(problem),
        input_type=f"{PACKAGE}::{'ExternalInput' if source.external else dense}",
    )
    return KernelSource(text, headers=TEMPLATES.headers("cuda/pool.cuh"))


def _dependent(problem: Problem) -> str:
    return "true" if problem.target["compute_capability"] >= 90 else "false"


@dataclass(frozen=True)
class MeanConfig:
    """A block computes ``lanes`` neighbouring results, each with ``parts`` threads."""

    lanes: int
    parts: int

    def __str__(self) -> str:
        return f"{self.lanes} results in {self.parts} parts"


def _mean_candidates(problem: Problem) -> list[Candidate]:
    loops = MeanLoops.of(problem)
    kept, reduced = problem.size(loops.kept_count), problem.size(loops.reduced_count)
    bandwidth = problem.target["memory_gbps"] * 1e3 * 0.8
    moved = problem.size(problem.operands[0].type.byte_count) / bandwidth
    shapes = ((1, 256), (1, 32), (4, 32)) if loops.inner_is_reduced else ((32, 8), (32, 32), (64, 4))

    def estimate(lanes: int, parts: int) -> float:
        waves = max(1.0, kept * parts / (problem.target["multiprocessors"] * 2048))
        idle = 1.0 + parts / max(1, min(parts, reduced)) / 8
        return LAUNCH_US + max(moved, LOAD_US * waves * idle * (1 + reduced / parts / 4))

    found = [Candidate(MeanConfig(*shape), estimate(*shape)) for shape in shapes]
    return sorted(found, key=lambda candidate: candidate.estimate_us)


def _mean_emit(name: str, problem: Problem, config: MeanConfig) -> KernelSource:
    source = problem.operands[0]
    loops = MeanLoops.of(problem)
    index = _index(problem, source.type.element_count)
    symbols = [symbol for symbol, _ in problem.symbols]
    external = "const fx2ait::ExternalTensor"
    taken = [f"[[maybe_unused]] int64_t {inner_name(symbol)}" for symbol in symbols]
    passed = [inner_name(symbol) for symbol in symbols]
    if source.external:
        taken.insert(0, f"{external}& {source.name}")
        passed.insert(0, source.name)
    load = (
        f"fx2ait::load_external({source.name}.data, {source.name}.dtype, offset)"
        if source.external
        else f"fx2ait::to_float({source.name}[offset])"
    )
    text = TEMPLATES.kernel(
        "cuda/mean.cu.jinja",
        name,
        problem,
        config=config,
        index=index,
        dependent=_dependent(problem),
        input_type=external if source.external else f"const {c_type(source.type, problem)}*",
        kept=offset_statements(loops.kept, "index", "offset", index),
        reduced=offset_statements(loops.reduced, "index", "offset", index),
        kept_count=inner_expression(loops.kept_count),
        reduced_count=inner_expression(loops.reduced_count),
        results=loops.kept_count,
        arguments="".join(f", {argument}" for argument in taken),
        passed="".join(f", {argument}" for argument in passed),
        symbols="".join(f", [[maybe_unused]] int64_t {inner_name(symbol)}" for symbol in symbols),
        passed_symbols="".join(f", {symbol}" for symbol in symbols),
        load=load,
    )
    return KernelSource(text)


KERNELS = [
    *(
        Kernel(
            name=f"{kind.split('.')[-1]}_cuda",
            operator=kind,
            target="cuda",
            candidates=_candidates,
            emit=_emit,
            label=label,
            supports=_supports,
            external_operands=frozenset({0}),
        )
        for kind in WINDOWED
    ),
    Kernel(
        name="mean_cuda",
        operator="pooling.mean",
        target="cuda",
        candidates=_mean_candidates,
        emit=_mean_emit,
        label=mean_label,
        supports=lambda problem: mean_decline(problem, DTYPES),
        external_operands=frozenset({0}),
    ),
]
