"""Convolutions over the whole argument range, compiled and compared with PyTorch in float64.

Each hypothesis example is a bench of 50 convolutions in one engine, each part two of them: 300
convolutions on the CPU and 500 on a GPU, in parts that can be tested side by side.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fx2ait_core.testing.matching import TARGETS, Case, assert_matches_pytorch

PER_BENCH = 50
BENCHES = 2
PARTS = [
    *(pytest.param("cpu", part, id=f"cpu-{part}") for part in range(3)),
    *(pytest.param("cuda", part, id=f"cuda-{part}", marks=pytest.mark.cuda) for part in range(5)),
]
SIZES = [1, 1, 2, 3, 3, 3, 3, 5, 7, 11]


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    groups = draw(st.sampled_from([1, 1, 1, 1, 2, 3, 4, 8]))
    depthwise = draw(st.booleans()) and groups > 1
    per_group = 1 if depthwise else draw(st.sampled_from([1, 2, 3, 5, 8, 16, 24, 33, 64]))
    channels = groups * per_group
    out_channels = groups * draw(st.sampled_from([1, 2, 3, 4, 7, 8, 16, 24, 40]))
    kernel = (draw(st.sampled_from(SIZES)), draw(st.sampled_from(SIZES)))
    dilation = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    stride = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    padding: tuple[int, int] | str = (draw(st.integers(0, 4)), draw(st.integers(0, 4)))
    if draw(st.integers(0, 9)) == 0:
        padding, stride = draw(st.sampled_from([("same", (1, 1)), ("valid", stride)]))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    margin = (0, 0) if isinstance(padding, str) else padding
    sizes = [max(1, r - 2 * p) + draw(st.integers(0, 12)) for r, p in zip(reach, margin, strict=True)]
    layer: torch.nn.Module = torch.nn.Conv2d(
        channels,
        out_channels,
        kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        bias=draw(st.booleans()),
    )
    ending = draw(st.sampled_from([None, torch.nn.ReLU(), torch.nn.SiLU(), "norm"]))
    if ending == "norm":
        ending = calibrated_norm(out_channels)
    if ending is not None:
        layer = torch.nn.Sequential(layer, ending)
    return Case(layer, ((1, channels, *sizes),))


def calibrated_norm(channels: int) -> torch.nn.Module:
    """Batch norm with statistics, scale and shift that are not the default ones."""
    norm = torch.nn.BatchNorm2d(channels)
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    torch.nn.init.normal_(norm.bias)
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    return norm


@pytest.mark.slow
@pytest.mark.parametrize(("target", "part"), PARTS)
@given(
    cases=st.lists(convolutions(), min_size=PER_BENCH, max_size=PER_BENCH),
    channels_last=st.booleans(),
    half_inputs=st.booleans(),
)
@settings(
    max_examples=BENCHES,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_convolutions_match_pytorch(
    target: str, part: int, cases: list[Case], channels_last: bool, half_inputs: bool
) -> None:
    assert_matches_pytorch(cases, target=target, channels_last=channels_last, half_inputs=half_inputs)


class Inner(torch.nn.Module):
    """A convolution that is not the first operator, so that it reads the engine's own layout."""

    def __init__(self, convolution: torch.nn.Module, residual: bool = False) -> None:
        super().__init__()
        self.convolution = convolution
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(x) * 1.5
        y = self.convolution(x)
        return torch.relu(y + x) if self.residual else y


def conv(*arguments: int, **options: int) -> torch.nn.Module:
    return torch.nn.Conv2d(*arguments, **options)  # type: ignore[arg-type]


INNER = [
    Case(Inner(conv(64, 64, 3, padding=1), residual=True), ((1, 64, 14, 14),)),
    Case(Inner(conv(64, 128, 3, stride=2, padding=1)), ((1, 64, 15, 13),)),
    Case(Inner(conv(64, 64, 1), residual=True), ((1, 64, 9, 7),)),
    Case(Inner(conv(128, 256, 1, stride=2)), ((1, 128, 10, 10),)),
    Case(Inner(conv(24, 40, 3, padding=2, dilation=2)), ((1, 24, 11, 12),)),
    Case(Inner(conv(8, 8, 5, padding=2), residual=True), ((1, 8, 16, 16),)),
    Case(Inner(conv(3, 5, 3)), ((1, 3, 8, 8),)),
    Case(Inner(conv(32, 32, 3, padding=1, groups=32), residual=True), ((1, 32, 12, 12),)),
    Case(Inner(conv(32, 64, 3, padding=1, groups=4)), ((1, 32, 12, 12),)),
    Case(Inner(conv(512, 512, 3, padding=1), residual=True), ((1, 512, 7, 7),)),
]


@pytest.mark.parametrize("target", TARGETS)
def test_inner_convolutions_match_pytorch(target: str) -> None:
    assert_matches_pytorch(INNER, target=target)


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_inner_convolutions_match_pytorch_in_other_precisions(precision: str) -> None:
    assert_matches_pytorch(INNER, target="cuda", precision=precision)


def test_a_wrong_weight_is_noticed() -> None:
    """A negative control: the comparison itself must be able to fail."""
    layer = conv(8, 8, 3, padding=1)
    engine = assert_matches_pytorch([Case(layer, ((1, 8, 9, 9),))])
    x = torch.randn(2, 8, 9, 9)
    with torch.no_grad():
        layer.weight[0, 0, 0, 0] += 0.5
        assert (engine(x)[0] - layer(x)).norm() > 1e-2 * layer(x).norm()
