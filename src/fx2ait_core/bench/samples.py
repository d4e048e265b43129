"""Random inputs, described by name, shape and dtype."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

INTEGER_LIMIT = 8
"""Random integers are drawn from 0 to this, exclusive: valid for any index into a larger table."""


@dataclass(frozen=True)
class InputDescription:
    """One input: sizes are integers or names of dynamic symbols; ``dtype`` is PyTorch's name."""

    name: str
    shape: tuple[int | str, ...]
    dtype: str = "float32"

    def shape_at(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """The shape once each symbol has its size."""
        return tuple(sizes[dim] if isinstance(dim, str) else dim for dim in self.shape)


def described(manifest: Mapping[str, Any]) -> tuple[InputDescription, ...]:
    """The inputs of an engine by its manifest."""
    return tuple(
        InputDescription(port["name"], tuple(port["shape"]), port["dtype"]) for port in manifest["inputs"]
    )


def dynamic_ranges(manifest: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Smallest and largest size of each dynamic symbol of an engine."""
    return {name: (int(r["min"]), int(r["max"])) for name, r in manifest["symbols"].items()}


def random_inputs(
    inputs: Sequence[InputDescription], sizes: Mapping[str, int], seed: int | None = None
) -> tuple[torch.Tensor, ...]:
    """Tensors on the CPU: normally distributed floats, small integers, coin flips.

    :param sizes: the size of each dynamic symbol.
    :param seed: for reproducible values; fresh ones by default. The global generator is not touched.
    """
    generator = torch.Generator()
    generator.manual_seed(seed) if seed is not None else generator.seed()
    made = []
    for item in inputs:
        shape, dtype = item.shape_at(sizes), getattr(torch, item.dtype)
        if dtype.is_floating_point:
            made.append(torch.randn(shape, generator=generator).to(dtype))
        else:
            limit = 2 if dtype is torch.bool else INTEGER_LIMIT
            made.append(torch.randint(0, limit, shape, generator=generator).to(dtype))
    return tuple(made)
