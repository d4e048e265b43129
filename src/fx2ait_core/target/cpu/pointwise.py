"""``pointwise_cpu``: pointwise programs, copies, and conversions of dtype and layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...emit.launcher import c_type
from ...emit.templates import Templates
from ...extend.contributions import Candidate, Kernel, KernelSource
from ...extend.problem import OperandSpec, Problem
from ...ir.dims import Dim
from ...ir.fused import FusedPointwise
from ..iteration import Space, c_factor, distinct_spaces, inner_expression, inner_name, view_condition
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
SMALLEST_TILED = 8
MOST_CROSSED = 4
BYTES_PER_US = 8e3
CHUNK = 4096
EXTERNAL_CHUNK = 512
"""Elements of the innermost loop taken at once; external operands go through a buffer on the stack."""


@dataclass(frozen=True)
class OperandCode:
    """How one operand is read: C statements before the innermost loop (``prepare``) and in it
    (``load``), or the arguments of ``read_row`` for a row along the crossed loop (``row``)."""

    value: str
    prepare: str
    load: str
    row: str


@dataclass(frozen=True)
class SpaceCode:
    """What the template says of one space; names are those of the template."""

    name: str
    comment: str
    condition: str
    tiled: bool
    chunk: int
    result_element: str
    parameters: Sequence[str]
    arguments: Sequence[str]
    outer_count: str
    outer_coordinates: Sequence[str]
    inner_size: str
    inner_name: str
    crossed_size: str
    crossed_name: str
    result_offset: str
    crossed: Sequence[OperandCode]
    direct: Sequence[OperandCode]
    statements: Sequence[str]
    computed: str


def _operand_code(
    operand: OperandSpec, position: int, space: Space, names: Sequence[str], chunk: int, crossed: int | None
) -> OperandCode:
    value, source = f"x{position}", f"source{position}"
    offset = space.offset(position, names)
    stride = c_factor(space.inner.strides[position])
    step = {"0": "0", "1": "i"}.get(stride, f"i * {stride}")
    element = f"const Value {value} ="
    along = "0" if crossed is None else c_factor(space.axes[crossed].strides[position])
    if operand.external:
        buffer = f"row{position}"
        read = f"fx2ait::read_row({buffer}, {operand.name}, {offset}, {stride}, length);"
        if stride == "0":
            read = f"fx2ait::read_row({buffer}, {operand.name}, {offset}, 0, 1);"
        return OperandCode(
            value,
            f"float {buffer}[{1 if stride == '0' else chunk}]; {read}",
            f"{element} {buffer}[{'0' if stride == '0' else 'i'}];",
            f"{operand.name}, {offset}, {along}",
        )
    return OperandCode(
        value,
        f"const auto* const {source} = {operand.name} + ({offset});",
        f"{element} fx2ait::read<Value>({source}[{step}]);",
        f"{operand.name} + ({offset}), {along}",
    )


def _decompose(names: Sequence[str], sizes: Sequence[Dim], source: str) -> list[str]:
    """Statements that turn the linear index ``source`` into coordinates, the last the fastest."""
    lines: list[str] = []
    for position in range(len(names) - 1, -1, -1):
        divided = source if position == 0 else f"{source} % ({inner_expression(sizes[position])})"
        lines.append(f"[[maybe_unused]] const int64_t {names[position]} = {divided};")
        if position:
            lines.append(f"const int64_t rest{position} = {source} / ({inner_expression(sizes[position])});")
            source = f"rest{position}"
    return lines


def _product(sizes: Sequence[Dim]) -> str:
    return " * ".join(["int64_t{1}", *(f"({inner_expression(size)})" for size in sizes)])


def _space_code(problem: Problem, space: Space, config: PointwiseConfig, last: bool) -> SpaceCode:
    names = [f"c{position}" for position in range(len(space.axes))]
    sizes = [axis.size for axis in space.axes]
    crossing = crossed_axis(problem, space, SMALLEST_TILED, MOST_CROSSED) if config.tiled else None
    position, crossed = crossing or (None, ())
    chunk = EXTERNAL_CHUNK if any(operand.external for operand in problem.operands) else CHUNK
    operands = [
        _operand_code(operand, i, space, names, 32 if crossing else chunk, position)
        for i, operand in enumerate(problem.operands)
    ]
    statements, computed = program_of(problem).statements([code.value for code in operands])
    outer = [index for index in range(len(names) - 1) if index != position]
    coordinates = [names[index] for index in outer]
    result = c_type(problem.result, problem)
    symbols = [name for name, _ in problem.symbols]
    parameters = [f"{result}* result"]
    for operand in problem.operands:
        known = f"const {c_type(operand.type, problem)}*"
        parameters.append(f"{'const fx2ait::ExternalTensor&' if operand.external else known} {operand.name}")
    return SpaceCode(
        name=f"{'direct' if crossing is None else 'tiled'}_{space.view}",
        comment=space.comment(problem),
        condition="" if last else view_condition(problem, space.view),
        tiled=crossing is not None,
        chunk=chunk,
        result_element=result,
        parameters=[*parameters, *(f"[[maybe_unused]] int64_t {inner_name(name)}" for name in symbols)],
        arguments=["result", *(operand.name for operand in problem.operands), *symbols],
        outer_count=_product([sizes[index] for index in outer]),
        outer_coordinates=_decompose(
            coordinates, [sizes[index] for index in outer], "rest" if crossing else "outer"
        ),
        inner_size=inner_expression(space.inner.size),
        inner_name=names[-1],
        crossed_size="" if position is None else inner_expression(sizes[position]),
        crossed_name="" if position is None else names[position],
        result_offset=space.result_offset(names),
        crossed=[operands[index] for index in crossed],
        direct=[code for index, code in enumerate(operands) if index not in crossed],
        statements=statements,
        computed=computed,
    )


def candidates(problem: Problem) -> list[Candidate]:
    """Direct loops, and tiles where the layouts of some operand and the result cross."""
    moved = bytes_moved(problem) / BYTES_PER_US
    spaces = distinct_spaces(problem)
    if not any(crossed_axis(problem, space, SMALLEST_TILED, MOST_CROSSED) for space in spaces):
        return [Candidate(PointwiseConfig(1, False), moved)]
    return [
        Candidate(PointwiseConfig(1, True), moved * 1.5),
        Candidate(PointwiseConfig(1, False), moved * 4.0),
    ]


def emit(name: str, problem: Problem, config: PointwiseConfig) -> KernelSource:
    spaces = distinct_spaces(problem)
    text = TEMPLATES.kernel(
        "pointwise.cpp.jinja",
        name,
        problem,
        title=title(problem),
        value=c_type(problem.result, problem) if is_copy(problem) else "float",
        spaces=[_space_code(problem, space, config, space is spaces[-1]) for space in spaces],
    )
    return KernelSource(text)


KERNELS = [
    Kernel(
        name="pointwise_cpu",
        operator=FusedPointwise.kind,
        target="cpu",
        candidates=candidates,
        emit=emit,
        label=label,
        supports=decline,
        external_operands=frozenset(range(16)),
    )
]
