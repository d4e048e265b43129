"""What a measured launcher is called with: buffers of random data."""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np
import torch

from ..extend.contributions import KernelSource
from ..extend.problem import OperandSpec, Problem
from ..ir.dims import evaluate
from ..ir.dtypes import DType
from ..ir.layouts import row_major
from ..ir.types import TensorType
from .ports import ABI_DTYPES

_ALIGNMENT = 256
_MAX_RANK = 8
_MOST_SETS = 8
_LOOKED_AT = 1 << 16  # elements of a result
# Random numbers, repeated: making new ones for every candidate takes longer than measuring. A prime number
# of them, so that no image, row or tile looks like another.
_TILE = 65_521


class _ExternalTensor(ctypes.Structure):
    """``fx2ait::ExternalTensor``."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("dtype", ctypes.c_int),
        ("strides", ctypes.c_int64 * _MAX_RANK),
    ]


class RandomData:
    """Normally distributed numbers that repeat after 65,521; equal for every device and run."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._numbers = np.random.default_rng(0).standard_normal(_TILE, dtype=np.float32)
        self._tiles: dict[torch.dtype, torch.Tensor] = {}

    def array(self, shape: tuple[int, ...]) -> np.ndarray:
        """A float32 array on the host."""
        return np.resize(self._numbers, shape)

    def fill(self, values: torch.Tensor) -> None:
        """Fill a tensor of rank 1 on the device, of any floating dtype."""
        tile = self._tiles.get(values.dtype)
        if tile is None:
            tile = torch.from_numpy(self._numbers).to(self.device, values.dtype)
            self._tiles[values.dtype] = tile
        whole = values.numel() // _TILE * _TILE
        values[:whole].view(-1, _TILE).copy_(tile)
        values[whole:].copy_(tile[: values.numel() - whole])


class Buffers:
    """The launcher's arguments in one or more sets, so that calls do not all find one set cached.

    In an engine an operand was just written by the launch before: it is in the last cache level
    where it fits. So the sets together fill half of the GPU's L2. A processor's L2 is
    small beside an engine's weights: there the sets fill it four times over.

    :ivar arguments: addresses, one set after the other.
    :ivar sets: how many there are.
    """

    def __init__(self, problem: Problem, source: KernelSource, data: RandomData) -> None:
        self._data = data
        types = [*problem.results, *(o.type for o in (*problem.operands, *problem.epilogue_operands))]
        size = sum(problem.size(type.byte_count) for type in types)
        l2 = int(problem.target.properties.get("l2_bytes", 1 << 20))
        wanted = 4 * l2 if data.device.type == "cpu" else l2 // 2
        self.sets = max(1, min(_MOST_SETS, wanted // max(1, size)))
        self._kept: list[Any] = []
        constants = {
            position: self._packed(operand, source, position, problem)
            for position, operand in enumerate(problem.operands)
            if operand.constant
        }
        workspace = self._zeros(max(1, evaluate(source.workspace, problem.bindings)))
        pointers: list[int] = []
        self._results: list[torch.Tensor] = []  # of the first set
        for number in range(self.sets):
            for result in problem.results:
                room = self._room(problem.size(result.byte_count)).zero_()
                pointers.append(room.data_ptr())
                if number == 0:
                    self._results.append(room.view(getattr(torch, result.dtype.value)))
            for position, operand in enumerate(problem.operands):
                if position in constants:
                    pointers.append(self._copied(constants[position]))
                else:
                    pointers.append(self._operand(operand, problem))
            pointers += [self._operand(operand, problem) for operand in problem.epilogue_operands]
            pointers.append(workspace)
        self.arguments = (ctypes.c_void_p * len(pointers))(*pointers)

    def answer(self) -> np.ndarray:
        """What a launcher has written into the first set: float32 elements of each result, evenly spread.

        The places are the same for all launchers of the problem.
        """
        parts = []
        for result in self._results:
            step = result.numel() // _LOOKED_AT | 1  # odd, so that it meets all channels
            parts.append(result[::step].float().cpu().numpy())
        return np.concatenate(parts)

    def _operand(self, operand: OperandSpec, problem: Problem) -> int:
        """Random data; an external operand comes row-major, as most callers give it."""
        data = self._random(operand.type, problem)
        if not operand.external:
            return data
        shape = problem.shape(operand.type.shape)
        strides = [int(stride) for stride in row_major(len(shape)).strides(shape)]
        padded = strides + [0] * (_MAX_RANK - len(strides))
        dtype = ABI_DTYPES[getattr(torch, operand.type.dtype.value)]
        described = _ExternalTensor(data, dtype, (ctypes.c_int64 * _MAX_RANK)(*padded))
        self._kept.append(described)
        return ctypes.addressof(described)

    def _random(self, type: TensorType, problem: Problem) -> int:
        count = math.prod(problem.shape(type.shape))
        if not type.dtype.is_floating:
            return self._zeros(count * type.dtype.itemsize)  # any index is right
        room = self._room(count * type.dtype.itemsize)
        self._data.fill(room.view(getattr(torch, type.dtype.value)))
        return room.data_ptr()

    def _packed(
        self, operand: OperandSpec, source: KernelSource, position: int, problem: Problem
    ) -> torch.Tensor:
        """Bytes of a random constant as the kernel reads it, on the device."""
        values = self._data.array(problem.shape(operand.type.shape))
        if position in source.packings:
            packed = np.asarray(source.packings[position](values))
        else:
            dtype = operand.type.dtype.numpy if operand.type.dtype is not DType.bool else np.dtype(bool)
            packed = values.astype(dtype).transpose(operand.type.layout.order)
        flat = np.ascontiguousarray(packed).reshape(-1).view(np.uint8)
        return torch.from_numpy(flat.copy()).to(self._data.device)

    def _copied(self, packed: torch.Tensor) -> int:
        room = self._room(packed.numel())
        room.copy_(packed)
        return room.data_ptr()

    def _zeros(self, size: int) -> int:
        return self._room(size).zero_().data_ptr()

    def _room(self, size: int) -> torch.Tensor:
        """Bytes on the device, aligned as launchers expect."""
        room = torch.empty(size + _ALIGNMENT, dtype=torch.uint8, device=self._data.device)
        self._kept.append(room)
        start = -room.data_ptr() % _ALIGNMENT
        return room[start : start + size]
