"""The engines that the sanitizer watches use every variant that kernels offer for a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType

import pytest
import torch


@pytest.fixture(scope="module")
def script(benchmark_script: Callable[[str], ModuleType]) -> ModuleType:
    return benchmark_script("variants")


def test_each_engine_adds_variants_until_none_is_left(script: ModuleType) -> None:
    model = torch.nn.Sequential(
        torch.nn.Conv2d(64, 64, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(64, 128, 3, padding=1)
    ).eval()
    variants = script.Variants(model, (64, 16, 16), "fp16", "sm_90a")
    seen: set[str] = set()
    for tree in variants.trees():
        assert variants.used > seen
        seen = set(variants.used)
        manifest = json.loads(tree.text("manifest.json"))
        families = {kernel["kernel"] for kernel in manifest["plan"]["kernels"]}
        assert families <= {variant.split(":")[0] for variant in seen}
    wgmma = {variant for variant in seen if variant.startswith("conv2d_wgmma")}
    assert {"conv2d_halo", "conv2d_mma"} <= {variant.split(":")[0] for variant in seen}
    for words in ("alternating", "splits", "share filters", "channel rows"):
        assert any(words in variant for variant in wgmma), words
    assert not any(digit in variant.split(":")[1] for variant in seen for digit in "0123456789")
