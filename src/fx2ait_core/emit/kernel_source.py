"""The files around kernels: a head for each source, the declarations of all launchers."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from ..extend.problem import OperandSpec, Problem
from ..plan.plan import Plan, PlannedKernel
from .identifiers import one_line
from .launcher import signature
from .templates import Templates

_WIDTH = 105


def kernel_file(kernel: PlannedKernel, plugins: Iterable[tuple[str, str]]) -> str:
    """The kernel's source below a comment: what it computes, for which sizes, and who made it."""
    version = dict(plugins).get(kernel.distribution)
    maker = f"{kernel.distribution} {version}" if version else kernel.distribution
    lines = [kernel.name, *_lines("computes", computation(kernel.problem))]
    lines += [f"  {operand.name}: {_operand(operand)}" for operand in kernel.problem.operands]
    lines += [f"  e{i}: {_operand(operand)}" for i, operand in enumerate(kernel.problem.epilogue_operands)]
    lines += [f"  -> {result}" for result in kernel.problem.results]
    if not kernel.problem.epilogue.is_identity:
        lines += _lines("then", f"x0 = the result; {kernel.problem.epilogue}")
    if kernel.problem.symbols:
        lines += _lines("for", ", ".join(f"{name} = {bounds}" for name, bounds in kernel.problem.symbols))
    lines += _lines("made by", f"kernel {kernel.kernel} of {maker}, {kernel.config}")
    head = "".join(f"// {line}".rstrip() + "\n" for line in lines)
    return f"{head}\n{kernel.source.text.strip()}\n"


def computation(problem: Problem) -> str:
    """The operator with its attributes, on one line."""
    attributes = repr(problem.attributes)
    shown = "" if attributes.endswith("()") else f" with {attributes}"
    return one_line(f"{problem.kind}{shown}")


def declarations(plan: Plan, templates: Templates, includes: Iterable[str]) -> str:
    """``kernels.h``: one launcher per distinct kernel."""
    launchers = [
        {"comment": computation(kernel.problem), "signature": signature(kernel.name, kernel.problem)}
        for kernel in plan.kernels
    ]
    return templates.render(
        "kernels.h.jinja", name=one_line(plan.name), includes=list(includes), launchers=launchers
    )


def _operand(operand: OperandSpec) -> str:
    notes = ["constant"] * operand.constant + ["any dtype and strides"] * operand.external
    return one_line(f"{operand.type}{' (' + ', '.join(notes) + ')' if notes else ''}")


def _lines(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        f"{label}: {one_line(text)}", _WIDTH, subsequent_indent="    ", break_long_words=False
    )
