"""An engine's inputs and outputs on the PyTorch side: what is accepted, and how outputs are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import ArtifactError, EngineInputError
from ..ir.layouts import Layout, channels_last, row_major

# Numbered as in the C ABI.
ABI_DTYPES = {
    torch.float16: 1,
    torch.float32: 2,
    torch.int32: 3,
    torch.int64: 4,
    torch.bool: 5,
    torch.bfloat16: 6,
}
_FLOATING = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class EnginePort:
    """An input or output.

    :param shape: numbers, and expressions over dynamic symbols as text (``"batch"``).
    :param dtype: of outputs; a floating-point input is taken as float32, float16 or bfloat16.
    :param layout: in which outputs are laid out.
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: torch.dtype
    layout: Layout

    @classmethod
    def of(cls, description: Mapping[str, Any]) -> EnginePort:
        """A port by its entry in the manifest; raises ``ArtifactError``."""
        try:
            shape = tuple(description["shape"])
            dtype = getattr(torch, str(description["dtype"]))
            return cls(str(description["name"]), shape, dtype, _layout(description, len(shape)))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ArtifactError(
                f"The manifest describes a port wrongly: {description!r} ({error})."
            ) from error

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')}[{', '.join(map(str, self.shape))}]"

    def check(self, tensor: Any, device: torch.device) -> None:
        """Refuse what no engine takes as this input; shape and range are the library's to check.

        Raises :class:`~fx2ait_core.errors.EngineInputError`.
        """
        if not isinstance(tensor, torch.Tensor):
            raise EngineInputError(
                f'Input "{self.name}" is of type {type(tensor).__name__}; give a torch.Tensor, {self}.'
            )
        if tensor.device != device:
            raise EngineInputError(
                f'Input "{self.name}" is on {tensor.device}; the engine runs on {device}. '
                f"Give tensor.to({str(device)!r})."
            )
        if tensor.layout != torch.strided or tensor.is_quantized:
            kind = "quantized" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
            raise EngineInputError(f'Input "{self.name}" is {kind}; give a dense tensor, {self}.')
        if tensor.is_neg():
            raise EngineInputError(
                f'Input "{self.name}" is a negated view (of an imaginary part?), so that its memory holds '
                "other values. Give tensor.resolve_neg()."
            )
        accepted = _FLOATING if self.dtype in _FLOATING else (self.dtype,)
        if tensor.dtype not in accepted:
            names = [str(dtype).removeprefix("torch.") for dtype in accepted]
            raise EngineInputError(
                f'Input "{self.name}" is {str(tensor.dtype).removeprefix("torch.")}; accepted is '
                f"{' or '.join(filter(None, [', '.join(names[:-1]), names[-1]]))}."
            )
        if overlaps(tensor.shape, tensor.stride()):
            raise EngineInputError(
                f'Input "{self.name}" of shape {list(tensor.shape)} has strides {list(tensor.stride())}, so '
                "that several elements share memory (an expanded view?). Give tensor.contiguous()."
            )


def overlaps(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether elements of a strided tensor may share memory (sufficient order of strides not given)."""
    span = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size == 1:
            continue
        if stride < span:
            return True
        span = stride * (size - 1) + span
    return False


def _layout(description: Mapping[str, Any], rank: int) -> Layout:
    layout = description.get("layout", "row_major")
    if layout == "row_major":
        return row_major(rank)
    if layout == "channels_last":
        return channels_last(rank)
    order = layout.removeprefix("order") if isinstance(layout, str) else layout
    return Layout(tuple(int(axis) for axis in order))
