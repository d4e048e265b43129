"""Arithmetic against PyTorch: every overload, converted, compiled and evaluated; and what is declined."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from fx2ait_elementwise.arithmetic import EXPRESSIONS
from fx2ait_elementwise.arithmetic_converters import ARITHMETIC_CONVERTERS

from fx2ait_core.sdk import Constant, DType, Input, Value, tensor_type
from fx2ait_core.target.builtin import fx2ait_targets
from fx2ait_core.testing.calls import RecordedCall, float32, record_call
from fx2ait_core.testing.conformance import check_plugin
from fx2ait_core.testing.expressions import ExpressionLibrary, ScalarCase

COUNT = 3000
T = float32(COUNT)

BINARY: list[tuple[str, dict[str, Any]]] = [
    ("aten.add.Tensor", {"other": T}),
    ("aten.add.Tensor", {"other": T, "alpha": -1}),
    ("aten.add.Tensor", {"other": T, "alpha": 2.5}),
    ("aten.add.Tensor", {"other": 3, "alpha": 2}),
    ("aten.add.Scalar", {"other": -1.5}),
    ("aten.sub.Tensor", {"other": T}),
    ("aten.sub.Tensor", {"other": T, "alpha": 0.5}),
    ("aten.sub.Scalar", {"other": 2}),
    ("aten.mul.Tensor", {"other": T}),
    ("aten.mul.Tensor", {"other": np.array(2.5, np.float32)}),
    ("aten.mul.Scalar", {"other": -3}),
    ("aten.div.Tensor", {"other": T}),
    ("aten.div.Tensor", {"other": 3}),
    ("aten.div.Scalar", {"other": -0.7}),
    ("aten.div.Tensor_mode", {"other": T, "rounding_mode": None}),
    ("aten.div.Tensor_mode", {"other": T, "rounding_mode": "floor"}),
    ("aten.div.Tensor_mode", {"other": T, "rounding_mode": "trunc"}),
    ("aten.div.Scalar_mode", {"other": 0.1, "rounding_mode": "floor"}),
    ("aten.div.Scalar_mode", {"other": -0.3, "rounding_mode": "floor"}),
    ("aten.div.Scalar_mode", {"other": 0.3, "rounding_mode": "trunc"}),
    ("aten.rsub.Tensor", {"other": T, "alpha": 2}),
    ("aten.rsub.Scalar", {"other": 1}),
    ("aten.rsub.Scalar", {"other": 1.5, "alpha": 3}),
    ("aten.maximum.default", {"other": T}),
    ("aten.minimum.default", {"other": T}),
    ("aten.maximum.default", {"other": np.array(0.5, np.float32)}),
    ("aten.max.other", {"other": T}),
    ("aten.min.other", {"other": T}),
    ("aten.subtract.Tensor", {"other": T, "alpha": 2}),
    ("aten.multiply.Scalar", {"other": 1.5}),
    ("aten.divide.Tensor", {"other": T}),
    ("aten.divide.Scalar_mode", {"other": 0.7, "rounding_mode": "trunc"}),
    ("aten.true_divide.Tensor", {"other": 3}),
    ("aten.floor_divide.default", {"other": T}),
    ("aten.floor_divide.Scalar", {"other": 2}),
    ("aten.pow.Tensor_Tensor", {"exponent": T}),
    *(("aten.pow.Tensor_Scalar", {"exponent": e}) for e in (2, 3, 1, 0, 0.5, -1, -2, 1.7)),
    ("aten.pow.Scalar", {"self": 2, "exponent": T}),
    *((f"aten.{name}.default", {}) for name in ("exp", "sqrt", "neg", "abs", "reciprocal", "square")),
    ("aten.negative.default", {}),
    ("aten.absolute.default", {}),
]


def test_conformance() -> None:
    check_plugin("elementwise")


def sample(name: str) -> np.ndarray:
    values = np.random.default_rng().standard_normal(COUNT).astype(np.float32) * 3
    values[:5] = [np.nan, np.inf, -np.inf, 1.0, -1.0] if name == "self" else [1.0, 2.0, 2.0, np.nan, -2.0]
    return values


class Evaluator:
    """Evaluates converted graphs with the compiled expressions."""

    def __init__(self, graphs: list[RecordedCall], folder: Any) -> None:
        self.positions: dict[int, int] = {}
        cases: list[ScalarCase] = []
        for recorded in graphs:
            for operator in recorded.operators:
                mine = [e for e in EXPRESSIONS if e.operator is type(operator)]
                expression = next((e for e in mine if e.target == "cpu"), mine[0])
                self.positions[id(operator)] = len(cases)
                cases.append(ScalarCase(expression, operator.attributes))
        cpu = next(backend for backend in fx2ait_targets() if backend.name == "cpu")
        self.library = ExpressionLibrary(folder, cpu, cases)

    def run(self, recorded: RecordedCall, result: Value, inputs: dict[str, np.ndarray]) -> np.ndarray:
        values: dict[Value, np.ndarray] = {}

        def array(value: Value) -> np.ndarray:
            if isinstance(value, Constant):
                return np.broadcast_to(value.array.astype(np.float32), (COUNT,))
            return inputs[value.name] if isinstance(value, Input) else values[value]

        for operator in recorded.operators:
            operands = [array(value) for value in operator.operands]
            values[operator.result] = self.library.evaluate(self.positions[id(operator)], *operands)
        return array(result)


def record(overload: str, arguments: dict[str, Any]) -> tuple[RecordedCall, Value]:
    recorded = record_call(overload, **{"self": T, **arguments})
    return recorded, recorded.convert(ARITHMETIC_CONVERTERS)


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluator, list[tuple[RecordedCall, Value]]]:
    records = [record(overload, arguments) for overload, arguments in BINARY]
    evaluator = Evaluator([recorded for recorded, _ in records], tmp_path_factory.mktemp("arithmetic"))
    return evaluator, records


@pytest.mark.parametrize("index", range(len(BINARY)), ids=[f"{o}-{sorted(a)}" for o, a in BINARY])
def test_matches_pytorch(converted, index: int) -> None:  # type: ignore[no-untyped-def]
    evaluator, records = converted
    recorded, result = records[index]
    overload, arguments = BINARY[index]
    inputs = {name: sample(name) for name in ("self", "other", "exponent")}

    def tensor(name: str, value: Any) -> Any:
        if value is T:
            return torch.from_numpy(inputs[name])
        return torch.from_numpy(value) if isinstance(value, np.ndarray) else value

    given = {name: tensor(name, value) for name, value in {"self": T, **arguments}.items()}
    _, name, variant = overload.split(".")
    expected = getattr(getattr(torch.ops.aten, name), variant)(**given).numpy()
    found = evaluator.run(recorded, result, inputs)
    assert result.type.shape == (COUNT,)
    assert result.type.dtype == recorded.call.result_dtype
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=3e-5, atol=1e-6)


def test_broadcasting() -> None:
    recorded = record_call("aten.add.Tensor", self=float32(3, 1, 5), other=float32(4, 1))
    assert recorded.convert(ARITHMETIC_CONVERTERS).type.shape == recorded.call.result_shape == (3, 4, 5)


@pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
@pytest.mark.parametrize("other", [T, 2.0])
def test_in_place_variants_convert_alike(name: str, other: Any) -> None:
    functional, in_place = (record(f"aten.{n}.Tensor", {"other": other})[0] for n in (name, f"{name}_"))
    assert [o.kind for o in functional.operators] == [o.kind for o in in_place.operators]
    assert [o.attributes for o in functional.operators] == [o.attributes for o in in_place.operators]


DECLINED: list[tuple[str, dict[str, Any], str]] = [
    ("aten.add.Tensor", {"other": tensor_type((COUNT,), DType.int64)}, "dtypes must agree"),
    ("aten.add.Tensor", {"self": tensor_type((3,), DType.int64), "other": 1}, "floating point"),
    ("aten.exp.default", {"self": tensor_type((3,), DType.int64)}, "floating point"),
    ("aten.mul.Tensor", {"other": object()}, "only known at run time"),
    ("aten.div.Tensor_mode", {"other": T, "rounding_mode": "up"}, "rounding_mode"),
]


@pytest.mark.parametrize(("overload", "arguments", "reason"), DECLINED)
def test_declined_with_a_reason(overload: str, arguments: dict[str, Any], reason: str) -> None:
    assert reason in record_call(overload, **{"self": T, **arguments}).decline(ARITHMETIC_CONVERTERS)
