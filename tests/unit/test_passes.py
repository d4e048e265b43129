"""The core's passes on operators that only these tests know: everything goes by trait."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from fx2ait_core.errors import IRError, KernelError, PluginError, SettingsError
from fx2ait_core.extend.contributions import Kernel, PassContext, PointwiseExpression
from fx2ait_core.extend.registry import Contribution, Registry
from fx2ait_core.ir.dtypes import DType
from fx2ait_core.ir.fused import FusedPointwise
from fx2ait_core.ir.graph import Graph
from fx2ait_core.ir.operator import Attributes, Operator, pointwise_operator
from fx2ait_core.ir.printer import print_graph
from fx2ait_core.ir.traits import AffineChannels, ChannelsLast, Epilogue, RowMajor
from fx2ait_core.ir.types import TensorType, tensor_type
from fx2ait_core.ir.value import Constant, Input, Value
from fx2ait_core.ir.verifier import verify
from fx2ait_core.passes.pipeline import CORE_PASSES, run_passes
from fx2ait_core.passes.pointwise import literal
from fx2ait_core.target.target import Target

Double = pointwise_operator("test.double")
Plus = pointwise_operator("test.plus", arity=2)


class Mixer(Operator):
    """Owns an epilogue and wants channels last."""

    kind = "test.mixer"
    operand_names = ("input", "weight", "bias")
    traits = (AffineChannels(), Epilogue(), ChannelsLast())

    @classmethod
    def infer(cls, operands: list[TensorType], attributes: Any) -> tuple[TensorType, ...]:
        return (tensor_type(operands[0].shape, operands[0].dtype),)


class Flat(Operator):
    """Wants row-major operands."""

    kind = "test.flat"
    traits = (RowMajor(),)

    @classmethod
    def infer(cls, operands: list[TensorType], attributes: Any) -> tuple[TensorType, ...]:
        return (tensor_type(operands[0].shape, operands[0].dtype),)


@dataclass(frozen=True)
class Slope(Attributes):
    slope: float = 0.5


Leak = pointwise_operator("test.leak", attributes=Slope)

EXPRESSIONS = [
    PointwiseExpression(Double, "2.0f * {0}"),
    PointwiseExpression(Plus, "{0} + {1}"),
    PointwiseExpression(Leak, "{0} > 0.0f ? {0} : {slope} * {0}"),
    PointwiseExpression(Leak, "leak_of_toy({0}, {slope})", target="toy"),
]
TARGET = Target("machine", "")


def context(target: Target = TARGET, external: frozenset[int] = frozenset()) -> PassContext:
    kernel = Kernel(
        "k", Mixer.kind, target.name, lambda p: [], lambda *a: None, lambda *a: "", external_operands=external
    )  # type: ignore[arg-type,return-value]
    return PassContext(
        target,
        DType.float16,
        Registry(
            {
                "expressions": [Contribution(e, "test 1") for e in EXPRESSIONS],
                "kernels": [Contribution(kernel, "test 1")],
            }
        ),
    )


class Builder:
    """A graph written down operator by operator."""

    def __init__(self, *shape: int) -> None:
        self.graph = Graph("test")
        self.input = Input("x", tensor_type(shape or (2, 8, 4, 4), DType.float32))
        self.graph.inputs = [self.input]
        self.weight = Constant("w", np.ones((8, 8)))

    def add(self, kind: type[Operator], *operands: Value, attributes: Attributes | None = None) -> Value:
        options = {"attributes": attributes} if attributes else {}
        made = kind(operands, name=f"v{len(self.graph.operators)}", **options)  # type: ignore[arg-type]
        self.graph.operators.append(made)
        return made.result

    def mixer(self, value: Value, bias: bool = False) -> Value:
        extra = [Constant("b", np.ones(8))] if bias else []
        return self.add(Mixer, value, self.weight, *extra)

    def run(self, *outputs: Value, context: PassContext | None = None) -> Graph:
        self.graph.outputs = list(outputs)
        self.graph.output_names = [f"o{i}" for i in range(len(outputs))]
        self.graph.output_dtypes = [DType.float32] * len(outputs)
        return run_passes(self.graph, CORE_PASSES, context or context_with_external())


def context_with_external() -> PassContext:
    return context(external=frozenset({0}))


def kinds(graph: Graph) -> list[str]:
    return [operator.kind for operator in graph.operators]


def test_a_chain_is_absorbed_whole_and_bias_comes_first() -> None:
    b = Builder()
    value = b.mixer(b.input, bias=True)
    for _ in range(3):
        value = b.add(Double, value)
    graph = b.run(value)
    mixer = graph.operators[0]
    assert kinds(graph) == ["test.mixer", "core.pointwise"]  # the latter gives the output its layout
    assert str(mixer.epilogue) == "t0 = x0 + x1; t1 = 2.0f * t0; t2 = 2.0f * t1; t3 = 2.0f * t2; -> t3"
    assert mixer.epilogue_operands[0].type.shape == (8, 1, 1)
    assert mixer.epilogue_operands[0].type.dtype is DType.float32


def test_a_residual_is_absorbed_by_the_later_of_two_owners() -> None:
    b = Builder()
    first, second = b.mixer(b.input), b.mixer(b.input)
    graph = b.run(b.add(Double, b.add(Plus, first, second)))
    one, two = graph.operators[:2]
    assert one.epilogue is None
    assert str(two.epilogue) == "t0 = x1 + x0; t1 = 2.0f * t0; -> t1"
    assert two.epilogue_operands == [one.result]


def test_an_owner_moves_behind_what_its_epilogue_reads() -> None:
    b = Builder()
    early = b.mixer(b.input)
    late = b.add(Flat, b.mixer(b.input))
    graph = b.run(b.add(Plus, early, late))
    verify(graph)
    order = [operator.kind for operator in graph.operators if operator.kind.startswith("test.")]
    assert order == ["test.mixer", "test.flat", "test.mixer"]


def test_a_result_with_two_readers_is_not_absorbed() -> None:
    b = Builder()
    mixed = b.mixer(b.input)
    graph = b.run(b.add(Double, mixed), b.add(Flat, mixed))
    assert graph.operators[0].epilogue is None


def test_a_diamond_of_pointwise_operators_becomes_one_program_and_then_an_epilogue() -> None:
    """``x * f(x)`` reads x twice: once fused it has one operand, so that the owner takes it in."""
    b = Builder()
    mixed = b.mixer(b.input)
    graph = b.run(b.add(Plus, mixed, b.add(Double, mixed)))
    assert kinds(graph)[0] == "test.mixer"
    assert str(graph.operators[0].epilogue) == "t0 = 2.0f * x0; t1 = x0 + t0; -> t1"


def test_broadcasting_that_no_epilogue_offers_stays_apart() -> None:
    b = Builder()
    row = Constant("row", np.ones((4,)))
    graph = b.run(b.add(Plus, b.mixer(b.input), row))
    assert graph.operators[0].epilogue is None
    assert kinds(graph) == ["test.mixer", "core.pointwise"]


def test_a_constant_without_the_batch_of_one_is_read_element_by_element() -> None:
    """Kernels index such an operand by the offset in the result, so that it takes the result's layout."""
    b = Builder(1, 8, 4, 4)
    values = np.arange(8 * 4 * 4.0).reshape(8, 4, 4)
    graph = b.run(b.add(Plus, b.mixer(b.input), Constant("position", values)))
    (operand,) = graph.operators[0].epilogue_operands
    assert operand.type.shape == (1, 8, 4, 4) and operand.type.layout.is_channels_last
    assert isinstance(operand, Constant) and np.array_equal(operand.array[0], values)


def test_a_computed_value_without_the_batch_of_one_stays_apart() -> None:
    b = Builder(1, 8, 4, 4)
    lower_rank = Input("y", tensor_type((8, 4, 4), DType.float32))
    b.graph.inputs.append(lower_rank)
    graph = b.run(b.add(Plus, b.mixer(b.input), b.add(Flat, lower_rank)))
    assert all(operator.epilogue is None for operator in graph.operators)


@pytest.mark.parametrize(
    ("target", "expected"), [("machine", "x0 > 0.0f ? x0 : 0.5f * x0"), ("toy", "leak_of_toy(x0, 0.5f)")]
)
def test_attributes_become_literals_and_the_target_s_own_expression_wins(target: str, expected: str) -> None:
    b = Builder()
    made = context(Target(target, ""))
    graph = b.run(b.add(Leak, b.add(Flat, b.input), attributes=Slope()), context=made)
    assert any(expected in print_graph(graph).replace("(x0)", "x0") for _ in [0])


def test_an_operator_without_expression_is_named() -> None:
    b = Builder()
    with pytest.raises(KernelError, match=r"expression of test.nothing for target machine"):
        b.run(b.add(pointwise_operator("test.nothing"), b.input))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1f"),
        (-2, "(-2.0f)"),
        (1e39, "(__builtin_inff())"),
        (-1e300, "(-__builtin_inff())"),
        (1e-46, "0.0f"),
        (-1e-46, "(-0.0f)"),
        (1e-45, "1e-45f"),
    ],
)
def test_literals_are_numbers_of_float32(value: float, text: str) -> None:
    assert literal(value) == text


def test_an_integer_input_is_no_output() -> None:
    b = Builder()
    b.input.type = b.input.type.with_dtype(DType.int64)
    with pytest.raises(KernelError, match="an output reads the input x int64"):
        b.run(b.input)


@pytest.mark.parametrize("text", ["{0} * {alpha}", "{1}", "{0", "{0} + {}"])
def test_an_expression_that_cannot_be_filled_in_is_named(text: str) -> None:
    made = context()
    faulty = Contribution(PointwiseExpression(Leak, text, target="machine"), "test 1")
    b = Builder()
    with pytest.raises(PluginError, match=r"the expression of test.leak, .* cannot be filled in"):
        b.run(
            b.add(Leak, b.input, attributes=Slope()),
            context=replace(made, registry=Registry({"expressions": [faulty]})),
        )


def test_inputs_are_read_as_they_come_by_kernels_that_can() -> None:
    b = Builder()
    assert kinds(b.run(b.mixer(b.input)))[0] == "test.mixer"
    b = Builder()
    graph = b.run(b.mixer(b.input), b.mixer(b.input), context=context())
    assert kinds(graph)[:3] == ["core.pointwise", "test.mixer", "test.mixer"], "converted once for both"
    assert graph.operators[0].result.type.layout.is_channels_last
    assert graph.operators[0].result.type.dtype is DType.float16


def test_integer_inputs_are_refused_by_name_unless_a_kernel_reads_them_as_they_come() -> None:
    b = Builder()
    b.input.type = b.input.type.with_dtype(DType.int64)
    with pytest.raises(KernelError, match=r"v0: test.flat reads the input x int64\[2, 8, 4, 4\]"):
        b.run(b.add(Flat, b.input))
    b = Builder()
    b.input.type = b.input.type.with_dtype(DType.int64)
    assert kinds(b.run(b.mixer(b.input)))[0] == "test.mixer"


def test_layouts_spread_and_are_converted_once() -> None:
    b = Builder()
    mixed = b.add(Double, b.mixer(b.input))
    graph = b.run(b.add(Flat, mixed), b.add(Flat, mixed))
    conversions = [o for o in graph.operators if isinstance(o, FusedPointwise)]
    assert mixed.type.layout.is_channels_last
    assert len(conversions) == 1 and conversions[0].result.type.layout.is_row_major


def test_one_pixel_needs_no_conversion() -> None:
    b = Builder(2, 8, 1, 1)
    assert kinds(b.run(b.add(Flat, b.mixer(b.input)))) == ["test.mixer", "core.relabel", "test.flat"]


def test_outputs_have_the_model_s_dtype_and_memory_of_their_own() -> None:
    b = Builder()
    value = b.add(Flat, b.input)
    graph = b.run(value, value, b.input)
    assert [output.type.dtype for output in graph.outputs] == [DType.float32] * 3
    assert len({id(output) for output in graph.outputs}) == 3
    assert all(not isinstance(output, Input) for output in graph.outputs)


def test_dead_code_goes() -> None:
    b = Builder()
    b.add(Flat, b.input)
    assert "test.flat" not in kinds(b.run(b.mixer(b.input)))


def test_the_verifier_lists_every_fault() -> None:
    b = Builder()
    first = b.mixer(b.input)
    second = b.add(Flat, first)
    b.graph.operators.reverse()
    second.name = first.name
    with pytest.raises(IRError) as raised:
        verify(b.graph, "a bad pass")
    assert "after a bad pass" in str(raised.value)
    assert "before it is computed" in str(raised.value) and "two values are called" in str(raised.value)


def test_every_stage_can_be_dumped(tmp_path: Any) -> None:
    b = Builder()
    b.graph.outputs, b.graph.output_names, b.graph.output_dtypes = [b.mixer(b.input)], ["o"], [DType.float32]
    run_passes(b.graph, CORE_PASSES, context(), dump=tmp_path / "ir")
    names = sorted(path.name for path in (tmp_path / "ir").iterdir())
    assert names[0] == "00_lower.txt" and len(names) == 1 + len(CORE_PASSES)
    assert "test.mixer(%x, @w)" in (tmp_path / "ir" / "00_lower.txt").read_text()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Any) -> None:
    b = Builder()
    b.graph.outputs, b.graph.output_names, b.graph.output_dtypes = [b.mixer(b.input)], ["o"], [DType.float32]
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"cannot be dumped to .*file: (File exists|Not a directory)"):
        run_passes(b.graph, CORE_PASSES, context(), dump=tmp_path / "file")
