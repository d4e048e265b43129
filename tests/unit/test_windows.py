"""Windows absorbed by the producer of what they reduce: by trait, where a kernel takes them and it pays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from fx2ait_core.emit.launcher import epilogue_struct, finish_struct
from fx2ait_core.errors import Decline, IRError, KernelError
from fx2ait_core.extend.contributions import Candidate, Kernel, PassContext, PointwiseExpression
from fx2ait_core.extend.problem import Problem
from fx2ait_core.extend.registry import Contribution, Registry
from fx2ait_core.ir.dims import DimRange, symbol
from fx2ait_core.ir.dtypes import DType
from fx2ait_core.ir.graph import Graph
from fx2ait_core.ir.operator import Attributes, Operator, Origin, pointwise_operator
from fx2ait_core.ir.printer import print_graph
from fx2ait_core.ir.traits import AbsorbsWindows, ChannelsLast, Epilogue, ReducesWindows
from fx2ait_core.ir.types import TensorType, tensor_type
from fx2ait_core.ir.value import Constant, Input, Value
from fx2ait_core.ir.verifier import verify
from fx2ait_core.ir.window import WindowReduction
from fx2ait_core.passes.pipeline import CORE_PASSES, run_passes
from fx2ait_core.plan.problems import offers_for, problem_of
from fx2ait_core.target.target import Target

Double = pointwise_operator("test.double")
Plus = pointwise_operator("test.plus", arity=2)
C_TYPES = {DType.float16: "half", DType.float32: "float"}
TARGET = Target(
    "machine",
    "",
    properties={"c_types": C_TYPES, "device_function": "inline", "element_loop": "#pragma unroll"},
)


class Blur(Operator):
    """A producer that may reduce windows; the result is as large as the operand."""

    kind = "test.blur"
    traits = (Epilogue(), ChannelsLast(), AbsorbsWindows())

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: Any) -> tuple[TensorType, ...]:
        return (tensor_type(operands[0].shape, operands[0].dtype),)


class Plain(Blur):
    """A producer that may not."""

    kind = "test.plain"
    traits = (Epilogue(), ChannelsLast())


@dataclass(frozen=True)
class Halving(Attributes):
    described: bool = True


class Halve(Operator):
    """The largest of every 2x2 elements."""

    kind = "test.halve"
    traits = (Epilogue(), ChannelsLast(), ReducesWindows())

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: Any) -> tuple[TensorType, ...]:
        n, c, h, w = operands[0].shape
        return (tensor_type((n, c, h // 2, w // 2), operands[0].dtype),)

    @classmethod
    def window_of(cls, operands: Sequence[TensorType], attributes: Any) -> WindowReduction | None:
        return window_over(operands[0]) if attributes.described else None


def window_over(source: TensorType) -> WindowReduction:
    h, w = (int(dim) for dim in source.shape[2:])
    return WindowReduction("max", (2, 2), (2, 2), (0, 0), (1, 1), (h, w), (h // 2, w // 2))


def kernel(kind: type[Operator], microseconds: Any, **options: Any) -> Kernel:
    """A kernel whose estimate is a number, or a function of the problem."""

    def candidates(problem: Problem) -> list[Candidate]:
        return [Candidate(None, microseconds(problem) if callable(microseconds) else microseconds)]

    name = f"{kind.kind}{len(options)}"
    return Kernel(name, kind.kind, "machine", candidates, lambda *a: None, lambda *a: "", **options)  # type: ignore[arg-type,return-value]


APART = (kernel(Blur, 10.0), kernel(Plain, 10.0), kernel(Halve, 5.0))


def joined(microseconds: Any = 12.0, **options: Any) -> Kernel:
    return kernel(
        Blur,
        lambda p: (microseconds(p) if callable(microseconds) else microseconds) if p.window else 99.0,
        absorbs_windows=True,
        **options,
    )


class Model:
    """``halve(blur(x))``, and what the tests put around it."""

    def __init__(self, producer: type[Operator] = Blur, batch: Any = 2) -> None:
        self.graph = Graph("test")
        self.input = Input("x", tensor_type((batch, 8, 6, 4), DType.float32))
        self.graph.inputs = [self.input]
        self.blurred = self.add(producer, self.input)

    def add(self, kind: type[Operator], *operands: Value, attributes: Any = None) -> Value:
        options = {"attributes": attributes} if attributes else {}
        name = f"v{len(self.graph.operators)}"
        made = kind(operands, name=name, origin=Origin(modules=(kind.kind[5:],)), **options)
        self.graph.operators.append(made)
        return made.result

    def halve(self, value: Value | None = None, described: bool = True) -> Value:
        return self.add(Halve, value or self.blurred, attributes=Halving(described))

    def run(self, *outputs: Value, kernels: Sequence[Kernel] = (*APART, joined())) -> Graph:
        self.graph.outputs = list(outputs)
        self.graph.output_names = [f"o{i}" for i in range(len(outputs))]
        self.graph.output_dtypes = [DType.float32] * len(outputs)
        self.kernels = kernels
        expressions = [PointwiseExpression(Double, "2.0f * {0}"), PointwiseExpression(Plus, "{0} + {1}")]
        self.registry = Registry(
            {
                "expressions": [Contribution(e, "test 1") for e in expressions],
                "kernels": [Contribution(k, "test 1") for k in kernels],
            }
        )
        return run_passes(self.graph, CORE_PASSES, PassContext(TARGET, DType.float16, self.registry))


def kinds(graph: Graph) -> list[str]:
    return [operator.kind for operator in graph.operators if operator.kind.startswith("test.")]


def test_a_window_is_absorbed_and_shows_everywhere() -> None:
    model = Model()
    graph = model.run(model.halve())
    assert kinds(graph) == ["test.blur"]
    blur = graph.operators[1]  # the first converts the input
    assert blur.window == window_over(model.blurred.type)
    assert str(blur.origin) == "blur + halve"
    assert blur.result.type.shape == (2, 8, 3, 2) and blur.result.type.dtype is DType.float16
    assert "window [max of 2x2, stride 2x2, 6x4 to 3x2]" in print_graph(graph)
    problem = problem_of(blur, graph, TARGET, {})
    assert problem.computed == tensor_type((2, 8, 6, 4), DType.float16, blur.result.type.layout)
    assert problem.digest != replace(problem, window=None).digest
    assert [offer.kernel for offer in offers_for(problem, model.registry, "here")] == [model.kernels[-1]]


def test_epilogues_on_both_sides_go_along() -> None:
    model = Model()
    scaled = model.add(Double, model.blurred)
    graph = model.run(model.add(Double, model.halve(scaled)))
    blur = graph.operators[1]
    assert kinds(graph) == ["test.blur"] and blur.window is not None
    assert str(blur.epilogue) == str(blur.window.finish) == "t0 = 2.0f * x0; -> t0"
    text = finish_struct(problem_of(blur, graph, TARGET, {}))
    assert "identity = false" in text and "t0 = 2.0f * x[i]" in text


def test_a_residual_before_the_window_is_indexed_by_what_the_operator_computes() -> None:
    model = Model()
    other = model.add(Plain, model.input)
    graph = model.run(model.halve(model.add(Plus, model.add(Blur, other), other)))
    assert kinds(graph) == ["test.plain", "test.blur"]
    text = epilogue_struct(problem_of(graph.operators[-2], graph, TARGET, {}))
    assert "laid out as the result" in text


def test_the_reduced_tensor_may_have_many_readers() -> None:
    model = Model()
    half = model.halve()
    graph = model.run(model.add(Plain, half), model.add(Plain, half))
    assert kinds(graph) == ["test.blur", "test.plain", "test.plain"]


def test_windows_of_what_is_reduced_already_stay_apart() -> None:
    model = Model()
    graph = model.run(model.halve(model.halve()))
    assert kinds(graph) == ["test.blur", "test.halve"]


@pytest.mark.parametrize(
    "kernels",
    [
        APART,
        (*APART, joined(supports=lambda p: Decline("no") if p.window else None)),
        (*APART, joined(15.1)),
    ],
    ids=["no kernel", "declined", "slower"],
)
def test_it_is_left_where_no_kernel_gains(kernels: Sequence[Kernel]) -> None:
    model = Model()
    assert kinds(model.run(model.halve(), kernels=kernels)) == ["test.blur", "test.halve"]


def test_kernels_that_do_not_ask_for_windows_never_meet_one() -> None:
    model = Model()
    graph = model.run(model.halve())
    registry = Registry({"kernels": [Contribution(k, "test 1") for k in APART]})
    with pytest.raises(KernelError, match="it reduces no windows"):
        offers_for(problem_of(graph.operators[1], graph, TARGET, {}), registry, "here")


def test_it_must_pay_at_the_smallest_and_at_the_largest_size() -> None:
    for pays_at, expected in (((1, 64), 1), ((1,), 2), ((64,), 2)):
        model = Model(batch=symbol("batch"))
        model.graph.symbols = {"batch": DimRange(1, 64)}
        half = model.halve()
        fast = joined(lambda p, sizes=pays_at: 12.0 if dict(p.sizes)["batch"] in sizes else 20.0)
        assert len(kinds(model.run(half, kernels=(*APART, fast)))) == expected


def test_a_producer_without_a_kernel_of_its_own_is_joined_at_any_price() -> None:
    model = Model()
    only = kernel(Blur, 500.0, absorbs_windows=True, supports=lambda p: None if p.window else Decline("no"))
    assert kinds(model.run(model.halve(), kernels=(APART[2], only))) == ["test.blur"]


def test_what_is_read_elsewhere_is_not_absorbed() -> None:
    model = Model()
    graph = model.run(model.halve(), model.blurred)
    assert kinds(graph) == ["test.blur", "test.halve"]
    model = Model()
    graph = model.run(model.halve(), model.add(Plain, model.blurred))
    assert kinds(graph).count("test.halve") == 1


def test_what_is_no_plain_reduction_or_no_owner_stays_apart() -> None:
    model = Model()
    assert "test.halve" in kinds(model.run(model.halve(described=False)))
    model = Model(Plain)
    assert "test.halve" in kinds(model.run(model.halve()))
    model = Model()
    half = model.halve()
    graph = model.run(model.add(Plus, half, Constant("c", np.ones((8, 1, 1)))))
    assert "test.halve" in kinds(graph), "its epilogue reads a tensor"


def test_the_verifier_knows_windows() -> None:
    model = Model()
    graph = model.run(model.halve())
    blur = graph.operators[1]
    good = blur.window
    assert good is not None
    for wrong, words in (
        (replace(good, input_size=(5, 4)), "its window reduces (5, 4)"),
        (replace(good, output_size=(2, 2)), "does not reduce to"),
    ):
        blur.window = wrong
        with pytest.raises(IRError) as raised:
            verify(graph)
        assert words in str(raised.value)
    blur.window = None
    graph.operators[0].window = good
    with pytest.raises(IRError, match=r"core\.pointwise absorbs no windows"):
        verify(graph)
