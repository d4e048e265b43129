"""A convolution of few channels and the pooling behind it become one launch, on CUDA only."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import fx2ait_core as fx2ait
from fx2ait_core.compiler import tree_manifest

IMAGE = torch.zeros(2, 3, 48, 64)


def model(*tail: nn.Module, channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(channels, 32, 7, stride=2, padding=3, bias=False), *tail)
    return made.eval()


def launches(module: nn.Module, example: torch.Tensor = IMAGE, **options: Any) -> list[dict[str, Any]]:
    options = {"target": "cuda", "arch": "sm_90a", "dynamic_batch": (1, 64)} | options
    manifest = tree_manifest(fx2ait.emit_only(module, example, **options))
    return list(manifest["plan"]["buckets"][-1]["launches"])


POOL = nn.MaxPool2d(3, 2, 1)
FUSED = {
    "norm, relu, pool": (nn.BatchNorm2d(32), nn.ReLU(), POOL),
    "pool, relu": (POOL, nn.ReLU()),
    "silu, pool, gelu": (nn.SiLU(), nn.MaxPool2d(2), nn.GELU()),
    "ceil mode": (nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True)),
}


@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
@pytest.mark.parametrize("tail", FUSED.values(), ids=FUSED)
def test_one_launch_computes_both(tail: tuple[nn.Module, ...], arch: str) -> None:
    first, output = launches(model(*tail), arch=arch)
    assert first["kernel"].startswith("conv2d_strip_7x7s2_3x48x64_32_max")
    assert first["node"] == " + ".join(map(str, range(1 + len(tail)))) and "by max of" in first["description"]
    assert output["description"].startswith("core.pointwise"), "which gives the output its layout"


@pytest.mark.parametrize(
    ("tail", "channels", "options"),
    [
        ((nn.AvgPool2d(2),), 3, {}),
        ((nn.AdaptiveMaxPool2d(4),), 3, {}),
        ((nn.MaxPool2d(3, dilation=2),), 3, {}),
        ((POOL,), 16, {}),
        ((POOL,), 3, {"precision": "fp32"}),
        ((POOL,), 3, {"target": "cpu", "arch": None}),
    ],
    ids=["average", "adaptive", "dilated", "many channels", "fp32", "cpu"],
)
def test_what_no_kernel_reduces_stays_apart(
    tail: tuple[nn.Module, ...], channels: int, options: dict[str, Any]
) -> None:
    found = launches(model(*tail, channels=channels), torch.zeros(2, channels, 48, 64), **options)
    assert any(launch["description"].startswith("pooling.") for launch in found)


class Twice(nn.Module):
    """Pools a convolution that is an output too."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = model()

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        convolved = self.convolution(image)
        return convolved, POOL(convolved)


def test_a_convolution_that_is_read_twice_is_stored() -> None:
    assert any(launch["description"].startswith("pooling.max") for launch in launches(Twice().eval()))


@pytest.mark.slow
@pytest.mark.nvcc
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a"])
def test_it_compiles_without_a_warning(arch: str) -> None:
    library = fx2ait.compile(
        model(nn.BatchNorm2d(32), nn.ReLU(), POOL, nn.SiLU()),
        IMAGE,
        target="cuda",
        arch=arch,
        dynamic_batch=(1, 64),
        tune_batches=(1, 16),
        tune=False,
    )
    assert library.manifest["plan"]["kernels"][0]["kernel"] == "conv2d_strip"


@pytest.mark.cuda
@pytest.mark.parametrize("tail", FUSED.values(), ids=FUSED)
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_it_computes_what_pytorch_does(tail: tuple[nn.Module, ...], precision: str) -> None:
    from fx2ait_core.testing.matching import Case, assert_matches_pytorch  # noqa: PLC0415  (needs a GPU)

    case = Case(model(*tail), ((2, 3, 48, 64),))
    assert_matches_pytorch([case], target="cuda", precision=precision, batches=(5, 1, 2))
    assert_matches_pytorch([case], target="cuda", precision=precision, channels_last=True)
    assert_matches_pytorch([case], target="cuda", precision=precision, half_inputs=True)
