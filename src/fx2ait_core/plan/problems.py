"""Operators of a graph as problems for kernels."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import Decline, KernelError, PluginError
from ..extend.contributions import Candidate, Kernel
from ..extend.problem import OperandSpec, Problem
from ..extend.registry import Registry
from ..extend.verdict import faulty, verdict
from ..ir.graph import Graph
from ..ir.operator import Operator
from ..ir.pointwise import PointwiseProgram
from ..ir.value import Constant, Input, Value
from ..target.target import Target
from ..tune.offers import Offer


def problem_of(operator: Operator, graph: Graph, target: Target, sizes: Mapping[str, int]) -> Problem:
    """The operator's problem, its kernel to be chosen for ``sizes``."""
    names = list(operator.operand_names)
    names += [f"operand{index}" for index in range(len(names), len(operator.operands))]

    def spec(value: Value, name: str) -> OperandSpec:
        return OperandSpec(name, value.type, isinstance(value, Constant), isinstance(value, Input))

    return Problem(
        kind=operator.kind,
        attributes=operator.attributes,
        operands=tuple(spec(v, names[i]) for i, v in enumerate(operator.operands)),
        epilogue=operator.epilogue or PointwiseProgram(1),
        epilogue_operands=tuple(spec(v, f"e{i}") for i, v in enumerate(operator.epilogue_operands)),
        results=tuple(result.type for result in operator.results),
        target=target,
        symbols=tuple(sorted(graph.symbols.items())),
        sizes=tuple(sorted(sizes.items())),
        window=operator.window,
    )


def offers_for(problem: Problem, registry: Registry, where: str) -> list[Offer]:
    """All configurations of all kernels that serve the problem.

    A kernel whose record is faulty is passed over with a warning.

    Raises :class:`KernelError` with what each kernel said when none does.
    """
    offers: list[Offer] = []
    reasons: list[str] = []
    for contribution in registry.kernels(problem.kind, problem.target.name):
        kernel = contribution.value
        owner = f"the kernel {kernel.name} of {contribution.distribution}"
        found = _declines(kernel, problem, owner) or _candidates(kernel, problem, owner)
        if isinstance(found, Decline):
            reasons.append(f"{kernel.name} ({contribution.distribution}): {found.reason}")
        else:
            offers += [Offer(kernel, contribution.distribution, candidate) for candidate in found]
    if not offers:
        reasons += [
            f"{contribution.value.name} ({contribution.distribution}): left out by FX2AIT_DISABLE_KERNELS or "
            "--no-kernel (the setting disabled_kernels)"
            for contribution in registry.disabled_kernels(problem.kind, problem.target.name)
        ]
        said = "\n  ".join(reasons) or "no installed plugin has a kernel for it"
        raise KernelError(
            f"{where}: no kernel computes {problem.kind} on {problem.target} for "
            f"{', '.join(str(o.type) for o in problem.operands)}:\n  {said}"
        )
    return offers


def label_of(kernel: Kernel, problem: Problem, config: Any, distribution: str) -> str:
    """The readable part of a function's name, as an identifier of C.

    Raises :class:`~fx2ait_core.errors.PluginError` where the kernel's own label is none.
    """
    owner = f"the kernel {kernel.name} of {distribution}"
    try:
        label = kernel.label(problem, config)
    except Exception as error:
        raise PluginError(f"{owner}: label failed: {type(error).__name__}: {error}") from error
    if not isinstance(label, str):
        raise PluginError(f"{owner}: label gave {label!r}, which is no text")
    return re.sub(r"[^A-Za-z0-9_]+", "_", label).strip("_")


def _candidates(kernel: Kernel, problem: Problem, owner: str) -> list[Candidate] | Decline:
    try:
        candidates = list(kernel.candidates(problem))
    except Exception as error:
        return faulty(owner, f"its candidates failed: {type(error).__name__}: {error}")
    if odd := [candidate for candidate in candidates if not isinstance(candidate, Candidate)]:
        return faulty(owner, f"its candidates gave {odd[0]!r}, which is no Candidate")
    return candidates or Decline("it offers no candidate")


def _declines(kernel: Kernel, problem: Problem, owner: str) -> Decline | None:
    for position, operand in enumerate(problem.operands):
        if operand.external and position not in kernel.external_operands:
            return Decline(
                f"operand {operand.name} is an input of the engine: its layout is known at run time only"
            )
    if problem.window is not None and not kernel.absorbs_windows:
        return Decline("it reduces no windows")
    return verdict(kernel.supports, problem, owner)
