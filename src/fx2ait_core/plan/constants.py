"""Packing constants as the chosen kernels read them."""

from __future__ import annotations

import hashlib

import numpy as np

from ..extend.contributions import KernelSource
from ..ir.value import Constant
from .memory import aligned
from .plan import Location, PackedConstant


class ConstantPool:
    """Packed constants, each stored once however many launches read it."""

    def __init__(self) -> None:
        self._packed: dict[str, PackedConstant] = {}
        self._known: dict[tuple[int, str], str] = {}
        self._keep: list[Constant] = []
        self._end = 0
        self._names: set[str] = set()

    @property
    def constants(self) -> tuple[PackedConstant, ...]:
        return tuple(sorted(self._packed.values(), key=lambda constant: constant.offset))

    def place(self, constant: Constant, source: KernelSource, position: int, kernel: str) -> Location:
        """Pack ``constant`` for operand ``position`` of a kernel; default: its type's dtype and layout."""
        packing = source.packings.get(position)
        known = (id(constant), f"{kernel}/{position}" if packing else "")
        if known not in self._known:
            self._keep.append(constant)  # ids stay unique as long as the objects live
            self._known[known] = self._store(constant, source, position)
        return Location("constant", self._packed[self._known[known]].offset)

    def _store(self, constant: Constant, source: KernelSource, position: int) -> str:
        packing = source.packings.get(position)
        if packing is not None:
            array = packing(constant.array)
        else:
            ordered = constant.array.transpose(constant.type.layout.order)
            array = ordered.astype(constant.type.dtype.numpy)
        array = np.ascontiguousarray(array)
        digest = hashlib.sha256(f"{array.dtype} {array.shape}".encode() + array.tobytes()).hexdigest()
        if digest not in self._packed:
            name, count = constant.name, 1
            while name in self._names:
                count += 1
                name = f"{constant.name}.{count}"
            self._names.add(name)
            self._packed[digest] = PackedConstant(name, array, self._end)
            self._end += aligned(array.nbytes)
        return digest
