"""``pointwise_cuda``: pointwise programs, copies, and conversions of dtype and layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...emit.launcher import c_type
from ...emit.templates import Templates
from ...extend.contributions import Candidate, Kernel, KernelSource
from ...extend.problem import OperandSpec, Problem
from ...ir.dims import c_expression
from ...ir.fused import FusedPointwise
from ..iteration import (
    Space,
    c_factor,
    distinct_spaces,
    divisible,
    inner_expression,
    inner_name,
    largest,
    view_condition,
)
from ..pointwise_problem import (
    PointwiseConfig,
    bytes_moved,
    crossed_axis,
    decline,
    is_copy,
    label,
    program_of,
    title,
)

TEMPLATES = Templates(__package__)
LAUNCH_US = 2.0
TILE = 64
SMALLEST_TILED = 16
MOST_CROSSED = 2
WORDS = {1: "uint8_t", 2: "uint16_t", 4: "uint32_t", 8: "uint64_t"}


@dataclass(frozen=True)
class OperandCode:
    """How one operand is read in a space: C statements that fill the array ``value``."""

    value: str
    read: str
    read_one: str
    scalar: bool


@dataclass(frozen=True)
class SpaceCode:
    """What the template says of one space; names are those of the template."""

    name: str
    comment: str
    condition: str
    tiled: bool
    vector: int
    tail: bool
    count: str
    blocks: str
    parameters: Sequence[str]
    arguments: Sequence[str]
    launch_arguments: Sequence[str]
    coordinates: Sequence[str]
    operands: Sequence[OperandCode]
    statements: Sequence[str]
    computed: str
    crossed: Sequence[OperandCode] = ()
    direct: Sequence[OperandCode] = ()
    outer_coordinates: Sequence[str] = ()
    inner_size: str = ""
    inner_name: str = ""
    crossed_size: str = ""
    crossed_name: str = ""
    result_offset: str = ""


def _element(operand: OperandSpec, problem: Problem) -> str:
    return WORDS[operand.type.dtype.itemsize] if is_copy(problem) else c_type(operand.type, problem)


def _result_element(problem: Problem) -> str:
    return WORDS[problem.result.dtype.itemsize] if is_copy(problem) else c_type(problem.result, problem)


def _vector_limit(problem: Problem) -> int:
    """Neighbours that fill 16 bytes of the narrowest tensor; at most 8 where floats are computed on."""
    types = [problem.result, *(o.type for o in problem.operands if not o.external)]
    narrowest = min(type.dtype.itemsize for type in types)
    return 16 // narrowest if is_copy(problem) else min(8, 16 // narrowest)


def _decompose(names: Sequence[str], sizes: Sequence[Any], source: str) -> list[str]:
    """Statements that turn the linear index ``source`` into coordinates, the last the fastest."""
    lines = []
    for position in range(len(names) - 1, -1, -1):
        if position == 0:
            lines.append(f"[[maybe_unused]] const Index {names[0]} = {source};")
            break
        size = f"static_cast<Index>({inner_expression(sizes[position])})"
        lines.append(f"[[maybe_unused]] const Index {names[position]} = {source} % {size};")
        rest = f"rest{position}"
        lines.append(f"const Index {rest} = {source} / {size};")
        source = rest
    return lines


def _operand_code(operand: OperandSpec, position: int, space: Space, names: Sequence[str]) -> OperandCode:
    stride = space.inner.strides[position]
    value = f"x{position}"
    offset = space.offset(position, names, "static_cast<int64_t>" if operand.external else "")
    if not operand.external and space.is_dense(position):
        offset = "index"
    width = "1" if stride == 0 else "V"

    def read(width: str, into: str, at: str, stride: Any) -> str:
        if operand.external:
            if stride in (0, 1):
                return f"fx2ait::read_external<{width}>({into}, {operand.name}, {at});"
            step = c_factor(stride)
            return f"fx2ait::read_external_strided<{width}>({into}, {operand.name}, {at}, {step});"
        if stride in (0, 1):
            return f"fx2ait::read<{width}>({into}, {operand.name} + ({at}));"
        return f"fx2ait::read_strided<{width}>({into}, {operand.name} + ({at}), {c_factor(stride)});"

    plain = space.offset(position, names, "static_cast<int64_t>" if operand.external else "")
    return OperandCode(value, read(width, value, offset, stride), read("1", "{into}", plain, 1), stride == 0)


def _space_code(problem: Problem, space: Space, config: PointwiseConfig, only: bool) -> SpaceCode:
    names = [f"c{position}" for position in range(len(space.axes))]
    sizes = [axis.size for axis in space.axes]
    crossing = crossed_axis(problem, space, SMALLEST_TILED, MOST_CROSSED) if config.tiled else None
    tiled = crossing is not None
    operands = [_operand_code(operand, i, space, names) for i, operand in enumerate(problem.operands)]
    vector = 1 if tiled else space.vector(_vector_limit(problem))
    inputs = [f"{code.value}[{'0' if code.scalar and not tiled else 'i'}]" for code in operands]
    statements, computed = program_of(problem).statements(inputs)
    symbols = [name for name, _ in problem.symbols]
    result = _result_element(problem)
    parameters = [f"{result}* result"]
    launch = [f"reinterpret_cast<{result}*>(result)" if is_copy(problem) else "result"]
    for operand in problem.operands:
        element = _element(operand, problem)
        external = "const fx2ait::ExternalTensor"
        parameters.append(f"{external if operand.external else f'const {element}*'} {operand.name}")
        cast = f"reinterpret_cast<const {element}*>({operand.name})"
        launch.append(cast if is_copy(problem) else operand.name)
    parameters += [f"[[maybe_unused]] int64_t {inner_name(name)}" for name in symbols]
    prefix = "tiled" if tiled else "direct"
    code = SpaceCode(
        name=f"{prefix}_{space.view}",
        comment=space.comment(problem),
        condition="" if only else view_condition(problem, space.view),
        tiled=tiled,
        vector=vector,
        tail=not divisible(space.inner.size, vector),
        count=inner_expression(space.count),
        blocks=f"tiles_of({c_expression(space.count)}, 256 * {vector})",
        parameters=parameters,
        arguments=["result", *(o.name for o in problem.operands), *map(inner_name, symbols)],
        launch_arguments=[*launch, *symbols],
        coordinates=_decompose(names, sizes, "index"),
        operands=operands,
        statements=statements,
        computed=computed,
    )
    if crossing is None:
        return code
    position, crossed = crossing
    outer = [index for index in range(len(names) - 1) if index != position]
    outer_tiles = [f"({c_expression(sizes[index])})" for index in outer]
    tiles = [f"tiles_of({c_expression(size)}, tile)" for size in (space.inner.size, sizes[position])]

    def one(index: int, into: str) -> OperandCode:
        return OperandCode(operands[index].value, "", operands[index].read_one.replace("{into}", into), False)

    return replace(
        code,
        blocks=" * ".join([*tiles, *outer_tiles]),
        crossed=[one(index, "one") for index in crossed],
        direct=[one(i, operands[i].value) for i in range(len(operands)) if i not in crossed],
        outer_coordinates=_decompose([names[i] for i in outer], [sizes[i] for i in outer], "rest"),
        inner_size=inner_expression(space.inner.size),
        inner_name=names[-1],
        crossed_size=inner_expression(sizes[position]),
        crossed_name=names[position],
        result_offset=space.result_offset(names),
    )


def candidates(problem: Problem) -> list[Candidate]:
    """Direct indexing, and tiles where the layouts of some operand and the result cross."""
    bandwidth = problem.target["memory_gbps"] * 1e3 * 0.8  # bytes per microsecond
    moved = bytes_moved(problem) / bandwidth
    spaces = distinct_spaces(problem)
    crossed = any(crossed_axis(problem, space, SMALLEST_TILED, MOST_CROSSED) for space in spaces)
    widest = max(space.vector(_vector_limit(problem)) for space in spaces)
    direct = Candidate(PointwiseConfig(widest, False), LAUNCH_US + moved * (3.0 if crossed else 1.0))
    if not crossed:
        return [direct]
    return [Candidate(PointwiseConfig(widest, True), LAUNCH_US + moved * 1.2), direct]


def emit(name: str, problem: Problem, config: PointwiseConfig) -> KernelSource:
    spaces = distinct_spaces(problem)
    wide = largest(problem.result.element_count, problem) >= 2**31 - 2**16
    text = TEMPLATES.kernel(
        "pointwise.cu.jinja",
        name,
        problem,
        title=title(problem),
        value=WORDS[problem.result.dtype.itemsize] if is_copy(problem) else "float",
        index="int64_t" if wide else "uint32_t",
        dependent=problem.target["compute_capability"] >= 90,
        spaces=[_space_code(problem, space, config, space is spaces[-1]) for space in spaces],
    )
    return KernelSource(text)


KERNELS = [
    Kernel(
        name="pointwise_cuda",
        operator=FusedPointwise.kind,
        target="cuda",
        candidates=candidates,
        emit=emit,
        label=label,
        supports=decline,
        external_operands=frozenset(range(16)),
    )
]
