"""The batch: one dynamic dimension, the first of every input that has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ..errors import CaptureError
from ..ir.dims import DimRange

BATCH = "batch"


def batch_dimensions(
    dynamic_batch: tuple[int, int], examples: Mapping[str, Any], fixed: Sequence[str] = ()
) -> tuple[dict[str, DimRange], dict[int, dict[int, str]]]:
    """The symbols and the dynamic dimensions that :func:`~fx2ait_core.capture.capture` takes.

    :param dynamic_batch: smallest and largest size; both empty where only 1 is allowed, a fixed size.
    :param examples: the example inputs by name, in order.
    :param fixed: names of those without a batch.

    Raises :class:`CaptureError` for a range that is none, a fixed input that does not exist, and an
    example that lies outside the range.
    """
    try:
        smallest, largest = dynamic_batch
        limits = DimRange(smallest, largest)
    except (TypeError, ValueError) as error:
        raise CaptureError(
            f"dynamic_batch={dynamic_batch!r} is not a range (smallest, largest): {error}"
        ) from None
    if unknown := [name for name in fixed if name not in examples]:
        raise CaptureError(f"fixed_inputs: there is no {', '.join(unknown)} among {', '.join(examples)}")
    batched = {name: example for name, example in examples.items() if name not in fixed}
    if not batched:
        raise CaptureError("dynamic_batch is given, but no input has a batch")
    for name, example in batched.items():
        if not isinstance(example, torch.Tensor):
            raise CaptureError(f"example input {name} is a {type(example).__name__}, not a torch.Tensor")
        if example.ndim == 0:
            raise CaptureError(
                f"example input {name} has no dimension that could be the batch; name it in fixed_inputs"
            )
        if not limits.min <= example.shape[0] <= limits.max:
            raise CaptureError(
                f"example input {name} has a batch of {example.shape[0]}, outside dynamic_batch {limits}; if "
                "its first dimension is not the batch, name it in fixed_inputs"
            )
    if limits.max == 1:
        return {}, {}
    return {BATCH: limits}, {index: {0: BATCH} for index, name in enumerate(examples) if name in batched}
