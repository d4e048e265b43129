"""Plan: kernel per operator, offset per activation, order of launches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..errors import KernelError, PlanError
from ..extend.contributions import KernelSource
from ..extend.problem import Problem
from ..extend.registry import Registry
from ..ir.dims import evaluate
from ..ir.graph import Graph
from ..ir.operator import Operator
from ..ir.traits import View
from ..ir.value import Constant, Input, Value
from ..target.target import Target
from ..tune.offers import Choice, Offer
from .constants import ConstantPool
from .memory import Lifetime, aligned, arena_size, assign_offsets, lower_bound
from .plan import BucketPlan, Launch, Location, MemoryReport, Plan, PlannedKernel, Port
from .problems import label_of, offers_for, problem_of
from .work import work_of

_REUSE_LOSS = 0.1  # how much slower a kernel that is there already may be at sizes that nobody asked for

Select = Callable[[Sequence[tuple[Problem, Sequence[Offer]]]], Sequence[Choice]]


def plan(
    graph: Graph,
    target: Target,
    registry: Registry,
    select: Select,
    *,
    precision: str,
    tune_sizes: Sequence[Mapping[str, int]] = (),
    plugins: Sequence[tuple[str, str]] = (),
) -> Plan:
    """Plan the graph for ``target``.

    :param select: chooses an offer per problem (see :func:`fx2ait_core.tune.selection.select_all`).
    :param tune_sizes: sizes of the dynamic symbols to choose kernels for; default: the largest allowed
        ones. Where these are not among the given, they have a bucket all the same, whose kernels are
        taken from the others or chosen by estimate, without ``select``.

    Raises :class:`KernelError` that lists every operator without a kernel.
    """
    operators = [operator for operator in graph.operators if operator.trait(View) is None]
    buckets = _buckets(graph, tune_sizes)
    problems = {
        (operator, index): problem_of(operator, graph, target, sizes)
        for index, sizes in enumerate(buckets)
        for operator in operators
    }
    offers = _all_offers(problems, registry)
    spare = len(buckets) - 1 if _is_unasked(buckets[-1], tune_sizes) else None
    asked = [key for key in problems if key[1] != spare]
    choices = dict(zip(asked, select([(problems[key], offers[key]) for key in asked]), strict=True))
    for operator, index in problems:
        if index == spare:
            key = (operator, index)
            others = [(problems[operator, i], choices[operator, i]) for i in range(spare)]
            choices[key] = _unmeasured(problems[key], offers[key], others)
    kernels: dict[tuple[str, str, str], PlannedKernel] = {}
    pool = ConstantPool()
    used: dict[tuple[Operator, int], PlannedKernel] = {
        key: _kernel(problems[key], choice, kernels) for key, choice in choices.items()
    }
    distinct = sorted({kernel.name: kernel for kernel in used.values()}.values(), key=lambda k: k.name)
    workspaces = _workspaces(used, buckets)
    return Plan(
        name=graph.name,
        target=target,
        precision=precision,
        symbols=tuple(sorted(graph.symbols.items())),
        inputs=tuple(Port(value.name, value.type) for value in graph.inputs),
        outputs=tuple(
            Port(name, value.type) for name, value in zip(graph.output_names, graph.outputs, strict=True)
        ),
        kernels=tuple(distinct),
        buckets=tuple(
            _bucket(graph, operators, sizes, {o: used[o, index] for o in operators}, pool, *workspaces)
            for index, sizes in enumerate(buckets)
        ),
        constants=pool.constants,
        plugins=tuple(plugins),
    )


def _buckets(graph: Graph, tune_sizes: Sequence[Mapping[str, int]]) -> list[dict[str, int]]:
    """Distinct sizes within the declared ranges, ascending, the largest allowed one last."""
    largest = {name: limits.max for name, limits in graph.symbols.items()}
    if not largest:
        return [{}]
    for sizes in tune_sizes:
        for name, size in sizes.items():
            limits = graph.symbols.get(name)
            if limits is None or not limits.min <= size <= limits.max:
                raise PlanError(f"cannot tune for {name}={size}: the declared range is {limits or 'none'}")
    distinct = {tuple(sorted({**largest, **sizes}.items())) for sizes in tune_sizes}
    distinct.add(tuple(sorted(largest.items())))
    return [dict(sizes) for sizes in sorted(distinct, key=lambda sizes: [size for _, size in sizes])]


def _is_unasked(sizes: Mapping[str, int], tune_sizes: Sequence[Mapping[str, int]]) -> bool:
    return bool(tune_sizes) and not any(dict(sizes) == {**sizes, **asked} for asked in tune_sizes)


def _unmeasured(
    problem: Problem, offers: Sequence[Offer], others: Sequence[tuple[Problem, Choice]]
) -> Choice:
    """A choice made for smaller sizes where that does nearly as well, else the best estimate.

    A kernel that is there already costs neither compilation nor packed constants. It is taken to
    need as much longer as its result is larger.
    """
    best = min(offers, key=lambda offer: offer.candidate.estimate_us)
    size = problem.size(problem.result.byte_count)
    there = []
    for smaller, choice in others:
        longer = size / max(1, smaller.size(smaller.result.byte_count))
        there.append(replace(choice, microseconds=choice.candidate.estimate_us * longer, choice="heuristic"))
    there.append(best.choice(best.candidate.estimate_us * (1 + _REUSE_LOSS), "heuristic"))
    chosen = min(there, key=lambda choice: choice.microseconds)
    if chosen is there[-1]:
        return best.choice(best.candidate.estimate_us, "heuristic")
    return chosen


def _all_offers(
    problems: Mapping[tuple[Operator, int], Problem], registry: Registry
) -> dict[tuple[Operator, int], list[Offer]]:
    offers: dict[tuple[Operator, int], list[Offer]] = {}
    known: dict[tuple[Problem, tuple[tuple[str, int], ...]], list[Offer]] = {}
    faults: dict[str, None] = {}
    for key, problem in problems.items():
        seen = (problem, problem.sizes)
        if seen not in known:
            try:
                known[seen] = offers_for(problem, registry, str(key[0].origin) or key[0].name)
            except KernelError as error:
                faults[str(error)] = None
                continue
        offers[key] = known[seen]
    if faults:
        raise KernelError("\n".join(faults))
    return offers


def _kernel(
    problem: Problem, choice: Choice, kernels: dict[tuple[str, str, str], PlannedKernel]
) -> PlannedKernel:
    """The planned kernel of a choice; equal problems and configurations share one."""
    kernel, config = choice.kernel, choice.candidate.config
    key = (kernel.name, repr(config), problem.identity)
    if key not in kernels:
        label = label_of(kernel, problem, config, choice.distribution)
        digest = hashlib.sha256("\0".join(key).encode()).hexdigest()[:8]
        name = f"{label}_{digest}"
        kernels[key] = PlannedKernel(
            name=name,
            kernel=kernel.name,
            distribution=choice.distribution,
            config=str(config),
            choice=choice.choice,
            source=kernel.emit(name, problem, config),
            problem=problem,
        )
    return kernels[key]


def _workspaces(
    used: Mapping[tuple[Operator, int], PlannedKernel], buckets: Sequence[Mapping[str, int]]
) -> tuple[dict[str, int], int]:
    """The offset of each kernel's workspace from the start of the arena, and the end of all.

    A kernel has one, whatever the number of its launches and buckets: they run one after the
    other, and each leaves it as it must find it. It is as large as the largest bucket that launches
    the kernel needs. No activation ever lies there.
    """
    sizes: dict[str, int] = {}
    for (_, index), kernel in used.items():
        size = evaluate(kernel.source.workspace, buckets[index])
        sizes[kernel.name] = max(size, sizes.get(kernel.name, 0))
    offsets: dict[str, int] = {}
    end = 0
    for name in sorted(sizes):
        if sizes[name]:
            offsets[name] = end
            end += aligned(sizes[name])
    return offsets, end


class _Residence:
    """Where each value lives: views share the memory of what they look at."""

    def __init__(self, graph: Graph) -> None:
        self._base: dict[Value, Value] = {}
        for operator in graph.operators:
            if operator.trait(View) is not None:
                self._base[operator.result] = self.base(operator.operands[0])

    def base(self, value: Value) -> Value:
        return self._base.get(value, value)


def _bucket(
    graph: Graph,
    operators: Sequence[Operator],
    sizes: Mapping[str, int],
    kernels: Mapping[Operator, PlannedKernel],
    pool: ConstantPool,
    workspaces: Mapping[str, int],
    workspace_end: int,
) -> BucketPlan:
    residence = _Residence(graph)
    steps = {operator: step for step, operator in enumerate(operators)}
    outputs = {residence.base(value): index for index, value in enumerate(graph.outputs)}
    inputs: dict[Value, int] = {value: index for index, value in enumerate(graph.inputs)}

    last_read: dict[Value, int] = {}
    for operator, step in steps.items():
        for value in operator.inputs:
            last_read[residence.base(value)] = step
    buffers = [result for operator in operators for result in operator.results if result not in outputs]
    lifetimes = [
        Lifetime(evaluate(v.type.byte_count, sizes), steps[v.producer], last_read.get(v, steps[v.producer]))
        for v in buffers
        if v.producer is not None
    ]
    offsets = dict(zip(buffers, assign_offsets(lifetimes), strict=True))

    def location(value: Value) -> Location:
        base = residence.base(value)
        if base in outputs:
            return Location("output", outputs[base])
        if isinstance(base, Input):
            return Location("input", inputs[base])
        return Location("arena", workspace_end + offsets[base])

    def operand(operator: Operator, position: int, value: Value) -> Location:
        if not isinstance(value, Constant):
            return location(value)
        kernel = kernels[operator]
        own = position < len(operator.operands)
        source = kernel.source if own else KernelSource("")
        return pool.place(value, source, position, kernel.name)

    launches = [
        Launch(
            kernel=kernels[operator].name,
            node=str(operator.origin) or operator.name,
            description=_describe(operator),
            results=tuple(location(result) for result in operator.results),
            operands=tuple(operand(operator, i, value) for i, value in enumerate(operator.inputs)),
            workspace=(
                Location("arena", workspaces[kernels[operator].name])
                if kernels[operator].name in workspaces
                else None
            ),
            work=work_of(operator, residence.base, inputs),
        )
        for operator in operators
    ]
    memory = MemoryReport(
        arena=arena_size(lifetimes, [offsets[value] for value in buffers]),
        sum_of_activations=sum(aligned(lifetime.size) for lifetime in lifetimes),
        lower_bound=lower_bound(lifetimes),
        workspace=workspace_end,
    )
    return BucketPlan(tuple(sorted(sizes.items())), tuple(launches), memory)


def _describe(operator: Operator) -> str:
    types = ", ".join(str(value.type) for value in operator.operands)
    window = f" by {operator.window}" if operator.window is not None else ""
    return f"{operator.kind}: {types} -> {operator.result.type}{window}"
