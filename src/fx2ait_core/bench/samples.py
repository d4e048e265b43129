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


def batch_of(inputs: Sequence[InputDescription]) -> int | str:
    """The batch: the symbol that leads some input's shape, else the first size of the first input."""
    leading = [item.shape[0] for item in inputs if item.shape]
    return next((dim for dim in leading if isinstance(dim, str)), leading[0] if leading else 1)


def batch_size(inputs: Sequence[InputDescription], given: Sequence[torch.Tensor]) -> int:
    """How many samples ``given`` holds."""
    batch = batch_of(inputs)
    if isinstance(batch, int):
        return batch
    return next(t.shape[0] for item, t in zip(inputs, given, strict=True) if item.shape[:1] == (batch,))


def some_samples(
    inputs: Sequence[InputDescription], given: Sequence[torch.Tensor], which: slice | torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """The samples of ``given`` at these places, in their order; inputs without a dynamic batch are whole."""
    return tuple(
        tensor[which] if isinstance(next(iter(item.shape), 0), str) else tensor
        for item, tensor in zip(inputs, given, strict=True)
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
