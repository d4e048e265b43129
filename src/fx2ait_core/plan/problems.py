"""Operators of a graph as problems for kernels."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import Decline, KernelError
from ..extend.contributions import Kernel
from ..extend.problem import OperandSpec, Problem
from ..extend.registry import Registry
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

    Raises :class:`KernelError` with what each kernel said when none does.
    """
    offers: list[Offer] = []
    reasons: list[str] = []
    for contribution in registry.kernels(problem.kind, problem.target.name):
        kernel = contribution.value
        declined = _declines(kernel, problem)
        if declined is None:
            try:
                candidates = list(kernel.candidates(problem))
            except Exception as error:  # one plugin's fault must not take the others' kernels down
                declined = Decline(f"its candidates failed: {type(error).__name__}: {error}")
        if declined is not None:
            reasons.append(f"{kernel.name} ({contribution.distribution}): {declined.reason}")
            continue
        offers += [Offer(kernel, contribution.distribution, candidate) for candidate in candidates]
    if not offers:
        said = "\n  ".join(reasons) or "no installed plugin has a kernel for it"
        raise KernelError(
            f"{where}: no kernel computes {problem.kind} on {problem.target} for "
            f"{', '.join(str(o.type) for o in problem.operands)}:\n  {said}"
        )
    return offers


def _declines(kernel: Kernel, problem: Problem) -> Decline | None:
    for position, operand in enumerate(problem.operands):
        if operand.external and position not in kernel.external_operands:
            return Decline(
                f"operand {operand.name} is an input of the engine: its layout is known at run time only"
            )
    if problem.window is not None and not kernel.absorbs_windows:
        return Decline("it reduces no windows")
    try:
        return kernel.supports(problem)
    except Decline as raised:
        return raised
    except Exception as error:
        return Decline(f"its predicate failed: {type(error).__name__}: {error}")
