"""The packed constants as a safetensors file, and where it lies in the library."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from safetensors import SafetensorError, TensorSpec, serialize

from ..errors import PlanError
from ..plan.plan import PackedConstant

ALIGNMENT = 256  # of the tensor data inside the file, and of the file inside the library
SYMBOL = "fx2ait_weights"


@dataclass(frozen=True)
class Weights:
    """A safetensors file.

    :param data: the whole file.
    :param start: where tensor data begin, a multiple of 256.
    :param offsets: each constant's place, from ``start``.
    """

    data: bytes
    start: int
    offsets: Mapping[str, int]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def pack(constants: Sequence[PackedConstant]) -> Weights:
    """Serialize ``constants`` by name.

    Raises :class:`~fx2ait_core.errors.PlanError` for a name that comes twice or a dtype that
    safetensors does not have.
    """
    arrays: dict[str, np.ndarray] = {}
    for constant in constants:
        if constant.name in arrays:
            raise PlanError(f"Two packed constants are called {constant.name!r}; names must be unique.")
        array = np.ascontiguousarray(constant.array).reshape(constant.array.shape)  # keeps rank 0
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        arrays[constant.name] = array
    try:
        specs = {
            name: TensorSpec(dtype=a.dtype.name, shape=a.shape, data_ptr=a.ctypes.data, data_len=a.nbytes)
            for name, a in arrays.items()
        }
        data = bytes(serialize(specs))
    except SafetensorError as error:
        types = ", ".join(sorted({a.dtype.name for a in arrays.values()}))
        raise PlanError(
            f"The packed constants (of {types}) cannot be stored as safetensors: {error}."
        ) from error
    return _aligned(data)


def _aligned(data: bytes) -> Weights:
    """Pad the header with spaces, as the format allows, until tensor data begin at a multiple of 256."""
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].rstrip(b" ")
    header += b" " * (-(8 + len(header)) % ALIGNMENT)
    described = json.loads(header)
    offsets = {name: entry["data_offsets"][0] for name, entry in described.items() if name != "__metadata__"}
    whole = len(header).to_bytes(8, "little") + header + data[8 + length :]
    return Weights(whole, 8 + len(header), offsets)


def embedding(weights: Weights, file: str) -> str:
    """Assembler text that puts ``file`` into the library; ``fx2ait_weights`` is its tensor data.

    The hash makes the text differ whenever the weights do.
    """
    return f"""// The weights, inside the library. sha256 of {file}:
// {weights.sha256}
        .section .rodata
        .balign {ALIGNMENT}
.Lweights_file:
        .incbin "{file}"
        .global {SYMBOL}
        .hidden {SYMBOL}
        .set {SYMBOL}, .Lweights_file + {weights.start}
        .byte 0  // so that the address above is inside the section even without weights
        .section .note.GNU-stack, "", %progbits
"""
