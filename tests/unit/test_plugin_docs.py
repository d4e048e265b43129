"""``docs/plugins.md`` names every hook and status, and its example is a plugin that works."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from typing import get_args

import numpy as np
import pytest
import torch

from fx2ait_core import sdk
from fx2ait_core.extend.discovery import FoundPlugin
from fx2ait_core.extend.loading import HOOKS, load_plugin
from fx2ait_core.extend.report import Status
from fx2ait_core.passes.pipeline import CORE_PASSES
from fx2ait_core.target.backend import Backend
from fx2ait_core.target.target import Target
from fx2ait_core.testing.calls import float32, record_call
from fx2ait_core.testing.expressions import ExpressionLibrary, ScalarCase

TEXT = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("hook", HOOKS)
def test_every_hook_has_its_row(hook: str) -> None:
    assert f"| `{hook}` |" in TEXT


def test_no_hook_is_described_that_does_not_exist() -> None:
    assert set(re.findall(r"^\| `(fx2ait_\w+)`", TEXT, re.MULTILINE)) == set(HOOKS)


def test_every_status_is_explained() -> None:
    for status in get_args(Status):
        assert f"| `{status}` |" in TEXT


def test_the_passes_of_the_core_are_listed_in_order() -> None:
    places = [TEXT.index(f"`{item.name}`") for item in CORE_PASSES]
    assert places == sorted(places)


def test_names_of_the_sdk_exist() -> None:
    named = set(re.findall(r"`([A-Z]\w+)`", TEXT)) - {"ExpressionLibrary", "LauncherLibrary"}
    named -= {name for name in named if name.startswith("FX2AIT_")}
    assert named <= set(sdk.__all__) | {"None"}


def test_the_example_is_a_plugin_and_right(tmp_path: Path, cpu_target: tuple[Backend, Target]) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    module = ModuleType("fx2ait_log_sigmoid")
    exec(source, module.__dict__)
    found = FoundPlugin("fx2ait-log-sigmoid", "1.0.0", "log_sigmoid", "fx2ait_log_sigmoid")
    records = load_plugin(found, module).records
    (converter,), (expression,) = records["converters"], records["expressions"]
    recorded = record_call(converter.overload, self=float32(2, 3))
    assert recorded.convert([converter]).type == float32(2, 3)
    assert recorded.operators[0].kind == "log_sigmoid.log_sigmoid"

    x = torch.randn(1000) * 20
    library = ExpressionLibrary(tmp_path, cpu_target[0], [ScalarCase(expression)])
    expected = torch.nn.functional.logsigmoid(x.double()).numpy()
    np.testing.assert_allclose(library.evaluate(0, x.numpy()), expected, rtol=1e-5, atol=1e-9)
