"""A mean as two groups of loops: those over the result's elements, and those that are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fx2ait_core.sdk import Decline, Dim, DType, Problem, c_expression, element_count

Stride = Dim | str
"""Elements between two steps; for an external operand, C text read at run time."""


@dataclass(frozen=True)
class Loop:
    """Steps along neighbouring dimensions that are all kept or all averaged."""

    size: Dim
    stride: Stride


@dataclass(frozen=True)
class MeanLoops:
    """``kept`` from the slowest to the fastest in the result, and ``reduced`` in memory order."""

    kept: tuple[Loop, ...]
    reduced: tuple[Loop, ...]

    @classmethod
    def of(cls, problem: Problem) -> MeanLoops:
        attributes: Any = problem.attributes
        source = problem.operands[0]
        strides: Sequence[Stride] = source.type.strides
        if source.external:
            strides = [f"{source.name}.strides[{axis}]" for axis in range(source.type.rank)]
        groups: tuple[list[Loop], list[Loop]] = ([], [])
        for axis, size in enumerate(source.type.shape):
            if size == 1:
                continue
            group = groups[axis in attributes.dims]
            step = strides[axis]
            last = group[-1] if group else None
            if last and not isinstance(step, str) and last.stride == element_count((step, size)):
                group[-1] = Loop(element_count((last.size, size)), step)
            else:
                group.append(Loop(size, step))
        return cls(*(tuple(group) or (Loop(1, 0),) for group in groups))

    @property
    def kept_count(self) -> Dim:
        return element_count(tuple(loop.size for loop in self.kept))

    @property
    def reduced_count(self) -> Dim:
        return element_count(tuple(loop.size for loop in self.reduced))

    @property
    def inner_is_reduced(self) -> bool:
        """Whether neighbours in memory are averaged together."""
        return self.reduced[-1].stride == 1


def inner_name(symbol: str) -> str:
    """What a dynamic symbol is called inside a kernel, apart from the kernel's own variables."""
    return f"size_{symbol}"


def inner_expression(dim: Dim) -> str:
    """C text of ``dim`` inside a kernel."""
    if isinstance(dim, int):
        return str(dim)
    return c_expression(
        dim.xreplace({s: s.func(inner_name(s.name), **s.assumptions0) for s in dim.free_symbols})
    )


def offset_statements(loops: Sequence[Loop], index: str, name: str, number: str) -> list[str]:
    """C statements that leave in ``name`` the memory offset of step ``index`` of ``loops``."""
    lines = [f"int64_t {name} = 0;"]
    for position in range(len(loops) - 1, -1, -1):
        loop = loops[position]
        stride = loop.stride if isinstance(loop.stride, str) else f"({inner_expression(loop.stride)})"
        step = index
        if position:
            size = f"static_cast<{number}>({inner_expression(loop.size)})"
            step = f"{index} % {size}"
        lines.append(f"{name} += static_cast<int64_t>({step}) * {stride};")
        if position:
            lines.append(f"const {number} {name}_rest{position} = {index} / {size};")
            index = f"{name}_rest{position}"
    return lines


def mean_decline(problem: Problem, dtypes: Sequence[DType]) -> Decline | None:
    """None, or why no kernel serves the mean."""
    source, result = problem.operands[0], problem.result
    if not problem.epilogue.is_identity:
        return Decline("a mean has no epilogue")
    if not source.external and not source.type.layout.is_row_major:
        return Decline(f"input {source.type} must be row_major")
    if not result.layout.is_row_major:
        return Decline(f"result {result} must be row_major")
    for type in (result, *(() if source.external else (source.type,))):
        if type.dtype not in dtypes:
            return Decline(f"{type} must be of {', '.join(map(str, dtypes))}")
    return None


def mean_label(problem: Problem, config: Any) -> str:
    """E.g. ``mean_1_197x768``: averaged dimensions, then static sizes."""
    attributes: Any = problem.attributes
    sizes = "x".join(str(dim) for dim in problem.operands[0].type.shape if isinstance(dim, int))
    return f"mean_{''.join(map(str, attributes.dims))}_{sizes}".rstrip("_")
