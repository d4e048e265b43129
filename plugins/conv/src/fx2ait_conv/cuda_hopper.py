"""What all convolutions on Hopper's ``wgmma`` with tensor copies ask for."""

from __future__ import annotations

import numpy as np

from fx2ait_core.sdk import Decline, DType, Problem, Target

from .cuda_shape import ConvShape, common_decline

DTYPES = (DType.float16, DType.bfloat16)
"""Element types of products; results may also be float32."""


def device_decline(target: Target) -> Decline | None:
    if {"wgmma", "tma"} <= target.features:
        return None
    return Decline("the device has no wgmma with tensor copies (sm_90a does)")


def hopper_decline(problem: Problem) -> Decline | None:
    """Limits beside the convolution's geometry: device, layouts, and types."""
    if declined := device_decline(problem.target) or common_decline(problem, DTYPES, external=False):
        return declined
    if problem.result.dtype not in (*DTYPES, DType.float32):
        return Decline(f"stores float16, bfloat16 or float32, not {problem.result.dtype}")
    return None


def groups_decline(shape: ConvShape) -> Decline | None:
    return None if shape.groups == 1 else Decline(f"groups must be 1, not {shape.groups}")


def channels_decline(shape: ConvShape) -> Decline | None:
    """Rows of pixels and of filters must be whole 16 bytes for the copy engine."""
    if shape.channels % 8 == 0 and shape.out_channels % 8 == 0:
        return None
    return Decline(
        f"the {shape.channels} input and {shape.out_channels} result channels must be multiples of 8"
    )


def pair_channels(weight: np.ndarray) -> np.ndarray:
    """``[O, …]`` padded with zeros to a multiple of 16 rows, of each 16 first the even channels and then the
    odd ones.

    With filters as rows of the products a thread holds rows g and g + 8 of 16: so these are neighbouring
    channels.
    """
    padded = np.pad(weight, ((0, -weight.shape[0] % 16), *((0, 0),) * (weight.ndim - 1)))
    pairs = padded.reshape(-1, 8, 2, *weight.shape[1:])
    return np.swapaxes(pairs, 1, 2).reshape(padded.shape)


def pack_blocks(weight: np.ndarray, row: int, dtype: DType) -> np.ndarray:
    """``[O, I, kh, kw]`` to ``[kh * kw * blocks, O, row]``: input channels, padded with zeros, in blocks of
    ``row``, those of a block fastest."""
    out_channels, channels, *taps = weight.shape
    padded = np.pad(weight, ((0, 0), (0, -channels % row), (0, 0), (0, 0)))
    blocked = padded.reshape(out_channels, -1, row, *taps).transpose(3, 4, 1, 0, 2)
    return np.ascontiguousarray(blocked).reshape(-1, out_channels, row).astype(dtype.numpy)
