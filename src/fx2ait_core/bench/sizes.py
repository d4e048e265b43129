"""The batch sizes at which an engine has kernels of its own, and whether known samples may fill them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from .accuracy import relative_l2
from .samples import batch_of, batch_size, described, some_samples

_ALIKE = 1e-5
"""Relative L2 distance of a sample's answers, alone and among others, in float32 or float64."""


def unseen_sizes(manifest: Mapping[str, Any], seen: Iterable[int]) -> list[int]:
    """The largest batch of each bucket that serves none of the batches ``seen``, in order."""
    batch = batch_of(described(manifest))
    buckets = manifest.get("plan", {}).get("buckets", ())
    sizes = sorted({bucket["sizes"][batch] for bucket in buckets if batch in bucket["sizes"]})
    served = {next((size for size in sizes if count <= size), None) for count in seen}
    return [size for size in sizes if size not in served]


def samples_are_independent(
    manifest: Mapping[str, Any],
    reference: Callable[[Sequence[torch.Tensor]], Sequence[torch.Tensor]],
    given: Sequence[torch.Tensor],
    expected: Sequence[torch.Tensor],
) -> bool:
    """Whether each answer is that of its own sample, so that samples can be drawn again in another order.

    Told from the outputs' shapes, and from the first sample's answers without the others.
    """
    inputs = described(manifest)
    batch = batch_of(inputs)
    if not isinstance(batch, str) or any(port["shape"][:1] != [batch] for port in manifest["outputs"]):
        return False
    if batch_size(inputs, given) < 2:
        return False
    alone = reference(some_samples(inputs, given, slice(1)))
    return all(relative_l2(one, many[:1]) < _ALIKE for one, many in zip(alone, expected, strict=True))
