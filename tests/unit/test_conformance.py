"""The checks for plugin authors find what they promise to find; problems made by hand are laid out right."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from fx2ait_core.ir.dims import DimRange, symbol
from fx2ait_core.ir.dtypes import DType
from fx2ait_core.ir.layouts import channels_last, row_major
from fx2ait_core.ir.operator import Operator, pointwise_operator
from fx2ait_core.ir.traits import ChannelsLast, Epilogue
from fx2ait_core.ir.types import TensorType, tensor_type
from fx2ait_core.target.target import Target
from fx2ait_core.testing.calls import float32, record_call
from fx2ait_core.testing.conformance import check_plugin
from fx2ait_core.testing.problems import problem

HEADER = """
from dataclasses import dataclass
from pathlib import Path
from fx2ait_core.sdk import *

Op = pointwise_operator("mine.op")

@hookimpl
def fx2ait_operators():
    return [Op]

@hookimpl
def fx2ait_expressions():
    return [PointwiseExpression(Op, "fx::abs({0})")]
"""

Check = Callable[..., str]


@pytest.fixture
def faults_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Install a plugin made of source text and return what ``check_plugin`` says of it."""
    monkeypatch.syspath_prepend(tmp_path)

    def check(source: str, requires: str = "fx2ait-core>=0.1,<0.2") -> str:
        module = f"conformance_{tmp_path.name}"
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(source))
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        needs = f"Requires-Dist: {requires}\n" if requires else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n{needs}")
        (info / "entry_points.txt").write_text(f"[fx2ait]\nmine = {module}\n")
        try:
            check_plugin("mine")
        except AssertionError as error:
            return str(error)
        return ""

    return check


def test_a_good_plugin_passes(faults_of: Check) -> None:
    assert faults_of(HEADER) == ""


FAULTS = {
    "unloadable": ("import nothing_like_this", ["import of", "ModuleNotFoundError"]),
    "kind without a plugin": (HEADER.replace("mine.op", "op"), ["a kind is written plugin.operator"]),
    "no expression": (
        HEADER.replace('return [PointwiseExpression(Op, "fx::abs({0})")]', "return []"),
        ["no expression for cpu", "no expression for cuda"],
    ),
    "expression for one target": (
        HEADER.replace('"fx::abs({0})"', '"fx::abs({0})", "cpu"'),
        ["no expression for cuda"],
    ),
    "expression that does not compile": (
        HEADER.replace("fx::abs", "fx::absolute"),
        ["expressions do not compile for cpu", "absolute"],
    ),
    "operand that is not there": (HEADER.replace("{0}", "{1}"), ["cannot be filled in", "IndexError"]),
    "attribute that is not there": (HEADER.replace("{0}", "{slope}"), ["cannot be filled in", "KeyError"]),
    "attributes that can change": (
        HEADER.replace(
            'Op = pointwise_operator("mine.op")',
            """
class Loose(Attributes):
    slope: float = 1.0
Loose.__dataclass_params__ = None
Op = pointwise_operator("mine.op", attributes=Loose)
""",
        ),
        ["must be a frozen dataclass"],
    ),
    "overload without a variant": (
        HEADER
        + "\n@hookimpl\ndef fx2ait_converters():\n    return [Converter('aten.relu', lambda call: None)]\n",
        ["an overload is written aten.relu.default"],
    ),
    "converter that takes nothing": (
        HEADER
        + "\n@hookimpl\ndef fx2ait_converters():\n"
        + "    return [Converter('aten.relu.default', lambda: None)]\n",
        ["convert must take the call"],
    ),
    "overload twice": (
        HEADER
        + "\n@hookimpl\ndef fx2ait_converters():\n"
        + "    return [Converter('aten.relu.default', lambda call: None)] * 2\n",
        ["aten.relu.default has 2 of priority 0"],
    ),
    "kernel that cannot be called": (
        HEADER
        + "\n@hookimpl\ndef fx2ait_kernels():\n    f = lambda: None\n"
        + "    return [Kernel('a-b', 'mine.op', 'cpu', candidates=f, emit=f, label=f)]\n",
        ["candidates must take 1", "emit must take 3", "label must take 2", "must be an identifier"],
    ),
    "operator that infers nothing": (
        HEADER
        + "\nclass Bare(Operator):\n    kind = 'mine.bare'\n    operand_names = ('a b',)\n"
        + "\n@hookimpl(specname='fx2ait_operators')\ndef more():\n    return [Bare, Bare]\n",
        ["without a docstring", "does not infer", "must be a name", "mine.bare is contributed 2 times"],
    ),
    "missing recipes": (
        HEADER + "\n@hookimpl\ndef fx2ait_recipes():\n    return [RecipeFolder(Path('/nowhere/at/all'))]\n",
        ["is not a folder"],
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_is_found(faults_of: Check, case: str) -> None:
    source, words = FAULTS[case]
    found = faults_of(source)
    for word in words:
        assert word in found


def test_a_distribution_without_a_range_on_the_core_is_found(faults_of: Check) -> None:
    assert "does not depend on fx2ait-core" in faults_of(HEADER, requires="")


def test_a_plugin_that_is_not_installed() -> None:
    with pytest.raises(AssertionError, match="no distribution"):
        check_plugin("not_installed_at_all")


class Pool(Operator):
    """An image operator."""

    kind = "test.pool"
    operand_names = ("input", "weight")
    traits = (ChannelsLast((0,)), Epilogue())

    @classmethod
    def infer(cls, operands: list[TensorType], attributes: object) -> tuple[TensorType, ...]:  # type: ignore[override]
        return (operands[0],)


TARGET = Target("cpu", "x86-64")


def test_problems_have_the_layouts_of_traits() -> None:
    batch = symbol("batch")
    image = float32(batch, 3, 4, 5)
    made = problem(
        Pool,
        [image, float32(3, 3, 1, 1)],
        target=TARGET,
        constants={1},
        epilogue_operands=[image, float32(3, 1, 1)],
        result_dtype=DType.float16,
        symbols={"batch": DimRange(1, 8)},
    )
    assert made.operands[0].type.layout == made.result.layout == channels_last(4)
    assert made.operands[1].constant and made.operands[1].type.layout == row_major(4)
    assert made.result.dtype is DType.float16
    assert [operand.type.layout for operand in made.epilogue_operands] == [channels_last(4), row_major(3)]
    statements, result = made.epilogue.statements(["x", "a", "b"])
    assert (statements, result) == (["const float t0 = x + a;", "const float t1 = t0 + b;"], "t1")
    assert made.bindings == {"batch": 8}
    external = problem(Pool, [float32(1, 3, 4, 5), float32(1)], target=TARGET, externals={0})
    assert external.operands[0].external and external.operands[0].type.layout == row_major(4)
    other = problem(pointwise_operator("test.add", arity=2), [float32(2), float32(2)], target=TARGET)
    assert [operand.name for operand in other.operands] == ["input", "other"]


def test_calls_reject_unknown_arguments() -> None:
    with pytest.raises(TypeError, match="no argument slope; it has self"):
        record_call("aten.relu.default", self=float32(2), slope=1)


def test_calls_know_what_pytorch_returns() -> None:
    half = tensor_type((2, 1), DType.float16)
    call = record_call("aten.add.Tensor", self=half, other=tensor_type((3,), DType.float16)).call
    assert (call.result_shape, call.result_dtype, call["alpha"]) == ((2, 3), DType.float16, 1)
