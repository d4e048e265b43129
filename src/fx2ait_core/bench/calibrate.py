"""Running statistics measured on data, so that a check does not see the defaults 0 and 1."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch


def calibrated(model: torch.nn.Module, batches: Iterable[Sequence[torch.Tensor]]) -> torch.nn.Module:
    """A deep copy of ``model`` in eval mode whose running means and variances are those of ``batches``.

    Only modules that track running statistics are put in train mode while the batches run, so that
    random layers such as dropout stay off. Without batches, or without such modules, the copy is
    merely in eval mode. ``model`` itself is untouched.

    The affine parameters of these modules, 1 and 0 after initialization, get random values near them, so
    that a mistake in either is seen. Scales of 0, with which models start residual branches
    (``zero_init_residual`` of torchvision), become about ``1 / sqrt(n)`` where ``n`` modules have them: no
    branch stays unchecked, and all together add about as much as the path beside them holds. With scales of
    1 each block of a random network enlarges the rounding of those before it, which then hides faults.
    """
    copied = copy.deepcopy(model).eval()
    modules: list[Any] = list(copied.modules())
    tracking = [module for module in modules if getattr(module, "running_mean", None) is not None]
    batches = list(batches)
    if not tracking or not batches:
        return copied
    momenta = [module.momentum for module in tracking]
    generator = torch.Generator().manual_seed(len(tracking))
    dead = sum(_is_zero(module) for module in tracking)
    for module in tracking:
        _perturb(module, generator, dead)
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


def _perturb(module: torch.nn.Module, generator: torch.Generator, dead: int) -> None:
    """Random scale and shift where initialization left every channel alike.

    :param dead: how many modules have scales of 0.
    """
    is_zero = _is_zero(module)
    for name in ("weight", "bias"):
        parameter = getattr(module, name, None)
        if isinstance(parameter, torch.nn.Parameter) and bool((parameter == parameter.flatten()[0]).all()):
            noise = torch.rand(parameter.shape, generator=generator) * 0.2 - 0.1
            if name == "weight" and is_zero:
                noise = (1 + 4 * noise) / math.sqrt(dead)
            parameter.data = parameter.data + noise.to(parameter.data)


def _is_zero(module: torch.nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, torch.nn.Parameter) and not bool(weight.any())
