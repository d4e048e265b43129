"""Running statistics measured on data, so that a check does not see the defaults 0 and 1."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch

REVIVED_SCALE = 0.25
"""About what a scale of 0 becomes: what training makes of the last scale of a residual branch."""


def calibrated(model: torch.nn.Module, batches: Iterable[Sequence[torch.Tensor]]) -> torch.nn.Module:
    """A deep copy of ``model`` in eval mode whose running means and variances are those of ``batches``.

    Only modules that track running statistics are put in train mode while the batches run, so that
    random layers such as dropout stay off. Without batches, or without such modules, the copy is
    merely in eval mode. ``model`` itself is untouched.

    The affine parameters of these modules, 1 and 0 after initialization, get random values near them, so
    that a mistake in either is seen. A scale of 0 becomes about ``REVIVED_SCALE``: models start their
    residual branches so (``zero_init_residual`` of torchvision), and a branch times 0 would not be checked.
    """
    copied = copy.deepcopy(model).eval()
    modules: list[Any] = list(copied.modules())
    tracking = [module for module in modules if getattr(module, "running_mean", None) is not None]
    batches = list(batches)
    if not tracking or not batches:
        return copied
    momenta = [module.momentum for module in tracking]
    generator = torch.Generator().manual_seed(len(tracking))
    for module in tracking:
        _perturb(module, generator)
        module.reset_running_stats()
        module.momentum = None  # a plain average over all batches
        module.train()
    device = next((parameter.device for parameter in copied.parameters()), torch.device("cpu"))
    with torch.no_grad():
        for inputs in batches:
            copied(*(tensor.to(device) for tensor in inputs))
    for module, momentum in zip(tracking, momenta, strict=True):
        module.momentum = momentum
        module.eval()
    return copied


def _perturb(module: torch.nn.Module, generator: torch.Generator) -> None:
    """Random scale and shift where initialization left every channel alike."""
    for name in ("weight", "bias"):
        parameter = getattr(module, name, None)
        if isinstance(parameter, torch.nn.Parameter) and bool((parameter == parameter.flatten()[0]).all()):
            noise = torch.rand(parameter.shape, generator=generator) * 0.2 - 0.1
            if name == "weight" and not parameter.any():
                noise += REVIVED_SCALE
            parameter.data = parameter.data + noise.to(parameter.data)
