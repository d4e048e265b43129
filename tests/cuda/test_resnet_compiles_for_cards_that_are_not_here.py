"""ResNet-18's CUDA is compiled for two generations, warnings as errors; no GPU is needed for that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

import fx2ait_core as fx2ait
from fx2ait_core.errors import EngineError, TargetError

EXAMPLE = torch.zeros(2, 3, 224, 224)


@pytest.mark.slow
@pytest.mark.nvcc
@pytest.mark.parametrize(("arch", "sums"), [("sm_80", 0), ("sm_90a", 3)])
def test_resnet18_compiles(arch: str, sums: int, tmp_path: Path) -> None:
    library = fx2ait.compile(
        torchvision.models.resnet18(),
        EXAMPLE,
        target="cuda",
        arch=arch,
        dynamic_batch=(1, 512),
        tune_batches=(1, 32, 256),
        tune=False,
    )
    assert library.manifest["target"]["arch"] == arch
    assert library.library_path.stat().st_size > 20e6, "weights are inside the library"
    launches = library.manifest["plan"]["buckets"][0]["launches"]
    kinds = [launch["description"].partition(":")[0] for launch in launches]
    assert kinds[0] == "conv.conv2d", "the first convolution reads the caller's tensor itself"
    assert kinds.count("conv.conv2d_sum") == sums, "projected shortcuts are computed inside their siblings"
    assert kinds.count("conv.conv2d") == 20 - 2 * sums, "everything else is fused"
    assert len(kinds) == 22 - sums
    assert launches[0]["node"] == "conv1 + bn1 + relu + maxpool"
    assert launches[0]["kernel"].startswith("conv2d_strip")
    saved = library.save(tmp_path / "resnet18.fx2ait")
    if not torch.cuda.is_available():
        with pytest.raises((EngineError, TargetError, fx2ait.Fx2aitError)):
            fx2ait.load(saved)


def test_sources_are_the_same_byte_for_byte() -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet18()
    options = {"target": "cuda", "arch": "sm_90a", "dynamic_batch": (1, 512), "tune_batches": (1, 32)}
    first = fx2ait.emit_only(model, EXAMPLE, **options)
    second = fx2ait.emit_only(model, EXAMPLE, **options)
    assert first == second
    assert {"build.ninja", "model.cu", "manifest.json", "weights.safetensors"} <= set(first)


def test_a_launch_per_line_is_named_after_its_node() -> None:
    tree = fx2ait.emit_only(torchvision.models.resnet18(), EXAMPLE, target="cuda", arch="sm_90a")
    text = tree.text("model.cu")
    for node in ("conv1 + bn1 + relu + maxpool", "layer3.0.downsample.0", "layer4.1.conv2", "fc"):
        assert node in text


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(TargetError, match="sm_12"):
        fx2ait.compile(torch.nn.ReLU(), torch.zeros(1, 2), target="cuda", arch="sm_12")
