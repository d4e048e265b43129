"""Which sizes kernels are chosen for, and what serves the sizes that nobody asked for."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from fx2ait_core.errors import KernelError, PlanError
from fx2ait_core.extend.contributions import Candidate, Kernel, KernelSource
from fx2ait_core.extend.problem import Problem
from fx2ait_core.extend.registry import Contribution, Registry
from fx2ait_core.ir.dims import DimRange, symbol
from fx2ait_core.ir.dtypes import DType
from fx2ait_core.ir.graph import Graph
from fx2ait_core.ir.operator import Operator
from fx2ait_core.ir.pointwise import PointwiseProgram
from fx2ait_core.ir.types import tensor_type
from fx2ait_core.ir.value import Constant, Input
from fx2ait_core.plan.planner import plan
from fx2ait_core.plan.problems import offers_for
from fx2ait_core.target.target import Target
from fx2ait_core.tune.cache import TuningCache
from fx2ait_core.tune.offers import Device
from fx2ait_core.tune.selection import select_all


class Scale(Operator):
    kind = "test.scale"
    operand_names = ("input", "weight")

    @classmethod
    def infer(cls, operands, attributes):
        return (operands[0],)


@dataclass(frozen=True)
class Width:
    width: int


def kernel_of(estimates):
    """A kernel whose widths are estimated by ``estimates(batch)``; each packs the weight in its own way."""

    def candidates(problem):
        times = estimates(dict(problem.sizes)["batch"])
        return [Candidate(Width(width), us) for width, us in times.items()]

    def emit(name, problem, config):
        pack = lambda array: np.asarray(array * config.width, np.float32)  # noqa: E731
        return KernelSource(f"// {name}", packings={1: pack})

    return Kernel("scale", Scale.kind, "cpu", candidates, emit, lambda p, c: "scale")


def planned(estimates, tune=(), largest=512):
    """The plan of a graph with one operator, and the batch sizes that ``select`` was asked for."""
    graph = Graph("test")
    graph.symbols = {"batch": DimRange(1, largest)}
    image = Input("x", tensor_type((symbol("batch"), 4), DType.float32))
    operator = Scale([image, Constant("w", np.ones(4, np.float32))])
    graph.inputs, graph.operators, graph.outputs = [image], [operator], [operator.result]
    graph.output_names, graph.output_dtypes = ["y"], [DType.float32]
    kernel = kernel_of(estimates)
    kernel = Kernel(**{**vars(kernel), "external_operands": frozenset({0})})
    registry = Registry({"kernels": [Contribution(kernel, "test 1")]})
    asked = []

    def select(requests):
        asked.extend(dict(problem.sizes)["batch"] for problem, _ in requests)
        return select_all(requests, None, TuningCache(None), Device("a", "b"))

    sizes = [{"batch": batch} for batch in tune]
    return plan(graph, Target("cpu", "x"), registry, select, precision="fp32", tune_sizes=sizes), asked


def widths(made):
    """The width that serves each bucket, by its largest batch."""
    kernels = {kernel.name: kernel.config for kernel in made.kernels}
    return {dict(bucket.sizes)["batch"]: kernels[bucket.launches[0].kernel] for bucket in made.buckets}


def test_without_sizes_kernels_are_chosen_for_the_largest():
    made, asked = planned(lambda batch: {1: batch, 2: batch + 1})
    assert asked == [512] and widths(made) == {512: "Width(width=1)"}


def test_the_largest_size_is_measured_where_it_is_asked_for():
    _, asked = planned(lambda batch: {1: batch}, tune=(1, 512))
    assert asked == [1, 512]


def test_sizes_nobody_asked_for_take_the_kernel_of_smaller_ones_that_scales():
    # Width 2 is a little better at 512, and no candidate at all at 32.
    made, asked = planned(lambda batch: {1: 1.0 * batch} if batch < 512 else {2: 0.95 * batch}, tune=(32,))
    assert asked == [32]
    assert widths(made) == {32: "Width(width=1)", 512: "Width(width=1)"}
    assert len(made.kernels) == len(made.constants) == 1


def test_sizes_nobody_asked_for_take_their_own_best_where_others_do_not_scale():
    # At batch 1 a launch takes 100 whatever it computes; at 512 width 2 takes half a microsecond each.
    made, asked = planned(lambda batch: {1: 100.0 * batch, 2: 100 + 0.5 * batch}, tune=(1,))
    assert asked == [1]
    assert widths(made) == {1: "Width(width=1)", 512: "Width(width=2)"}
    assert len(made.kernels) == len(made.constants) == 2
    assert {kernel.choice for kernel in made.kernels} == {"heuristic"}


def test_of_several_smaller_sizes_the_one_that_scales_best_lends_its_kernel():
    made, _ = planned(lambda batch: {batch: 10 + 1.0 * batch}, tune=(1, 256))
    assert widths(made)[512] == "Width(width=256)"


def test_sizes_outside_of_the_range_are_refused():
    with pytest.raises(PlanError, match="cannot tune for batch=1024"):
        planned(lambda batch: {1: 1.0}, tune=(1024,))


def test_a_kernel_that_fails_to_answer_leaves_the_others_in_use():
    def fails(problem):
        raise KeyError("no such thing")

    good = kernel_of(lambda batch: {1: 1.0})
    result = tensor_type((symbol("batch"), 4), DType.float32)
    problem = Problem(
        kind=Scale.kind,
        attributes=None,
        operands=(),
        epilogue=PointwiseProgram(1),
        epilogue_operands=(),
        results=(result,),
        target=Target("cpu", "x"),
        sizes=(("batch", 4),),
    )
    for what, fault in {"predicate": {"supports": fails}, "candidates": {"candidates": fails}}.items():
        bad = Contribution(replace(good, name="bad", **fault), "bad 1")
        with pytest.raises(KernelError, match=rf"bad \(bad 1\): its {what} failed: KeyError"):
            offers_for(problem, Registry({"kernels": [bad]}), "here")
        both = Registry({"kernels": [bad, Contribution(good, "good 1")]})
        assert [offer.distribution for offer in offers_for(problem, both, "here")] == ["good 1"]
