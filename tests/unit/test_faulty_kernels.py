"""Faults in a plugin's kernel record are told by the names of the kernel and its distribution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fx2ait_core.errors import Decline, Fx2aitWarning, KernelError, PluginError
from fx2ait_core.extend.contributions import Candidate, Kernel, KernelSource
from fx2ait_core.extend.problem import Problem
from fx2ait_core.extend.registry import Contribution, Registry
from fx2ait_core.ir.dtypes import DType
from fx2ait_core.ir.operator import NO_ATTRIBUTES
from fx2ait_core.ir.pointwise import PointwiseProgram
from fx2ait_core.ir.types import tensor_type
from fx2ait_core.plan.problems import label_of, offers_for
from fx2ait_core.target.target import Target
from fx2ait_core.tune.cache import TuningCache
from fx2ait_core.tune.offers import Device, Offer, Policy
from fx2ait_core.tune.selection import select_all

RESULT = tensor_type((8,), DType.float32)
PROBLEM = Problem("test.op", NO_ATTRIBUTES, (), PointwiseProgram(1), (), (RESULT,), Target("cpu", "x"))
CANDIDATE = Candidate("the way", 1.0)


def kernel(**changed: Any) -> Kernel:
    record: dict[str, Any] = {
        "candidates": lambda problem: [CANDIDATE],
        "emit": lambda name, problem, config: KernelSource(f"void {name}() {{}}"),
        "label": lambda problem, config: "op",
    }
    return Kernel("op_cpu", "test.op", "cpu", **{**record, **changed})


def offers(**changed: Any) -> list[Offer]:
    registry = Registry({"kernels": [Contribution(kernel(**changed), "a plugin 1.0")]})
    return offers_for(PROBLEM, registry, "layer1")


def test_a_sound_record_is_offered() -> None:
    assert [offer.candidate for offer in offers()] == [CANDIDATE]


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        ({"supports": lambda problem: problem.nothing}, "predicate failed: AttributeError"),
        ({"supports": lambda problem: False}, "answered False; return None or Decline"),
        ({"supports": lambda problem: True}, "answered True"),
        ({"candidates": lambda problem: 1 / 0}, "candidates failed: ZeroDivisionError"),
        ({"candidates": lambda problem: None}, "candidates failed: TypeError"),
        ({"candidates": lambda problem: ["fast"]}, "'fast', which is no Candidate"),
    ],
)
def test_faults_are_named(changed: dict[str, Any], fault: str) -> None:
    with (
        pytest.warns(Fx2aitWarning, match="the kernel op_cpu of a plugin 1.0 is passed over: its "),
        pytest.raises(KernelError) as raised,
    ):
        offers(**changed)
    assert str(raised.value).startswith("layer1: no kernel computes test.op")
    assert fault in str(raised.value)


def test_other_kernels_stand_in_for_a_faulty_one() -> None:
    records = [replace(kernel(supports=lambda problem: 1 / 0), name="faulty"), kernel()]
    registry = Registry({"kernels": [Contribution(record, "a plugin 1.0") for record in records]})
    with pytest.warns(Fx2aitWarning, match="ZeroDivisionError"):
        assert [offer.kernel for offer in offers_for(PROBLEM, registry, "layer1")] == records[1:]


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        (lambda problem, config: None, "label gave None"),
        (lambda problem, config: problem.nothing, "label failed: AttributeError"),
    ],
)
def test_a_faulty_label_is_named(label: Any, fault: str) -> None:
    with pytest.raises(PluginError, match=f"the kernel op_cpu of a plugin 1.0: {fault}"):
        label_of(kernel(label=label), PROBLEM, "the way", "a plugin 1.0")


def test_a_label_becomes_an_identifier() -> None:
    found = label_of(kernel(label=lambda p, c: "3x3 conv/ü"), PROBLEM, "the way", "a plugin 1.0")
    assert found == "3x3_conv"


def raise_decline(problem: Problem) -> None:
    raise Decline("not today")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"supports": raise_decline}, "not today"),
        ({"supports": lambda problem: Decline("never")}, "never"),
        ({"candidates": lambda problem: []}, "it offers no candidate"),
    ],
)
def test_reasons_are_listed(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(KernelError, match=rf"op_cpu \(a plugin 1.0\): {reason}"):
        offers(**changed)


def test_a_kernel_that_is_left_out_is_named() -> None:
    left_out = [Contribution(replace(kernel(), name=name), "a plugin 1.0") for name in ("op_cpu", "op_fast")]
    registry = Registry({"kernels": [], "disabled_kernels": left_out})
    with pytest.raises(KernelError, match=r"op_fast \(a plugin 1\.0\): left out by FX2AIT_DISABLE_KERNELS"):
        offers_for(PROBLEM, registry, "layer1")


def test_text_in_place_of_a_kernel_source_is_a_failed_candidate() -> None:
    offered = offers(emit=lambda name, problem, config: "void f() {}")
    with (
        TuningCache(None) as cache,
        pytest.warns(RuntimeWarning, match="is skipped"),
        pytest.raises(KernelError, match="emit returned a str, not a KernelSource"),
    ):
        select_all([(PROBLEM, offered)], None, cache, Device("", ""), Policy())
