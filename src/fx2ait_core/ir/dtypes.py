"""Element types of tensors."""

from __future__ import annotations

import builtins
import enum

import ml_dtypes
import numpy as np


class DType(enum.Enum):
    """An element type; the value is the name that PyTorch, safetensors and the manifest use."""

    float64 = "float64"
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"
    int64 = "int64"
    int32 = "int32"
    bool = "bool"

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return int(self.numpy.itemsize)

    @property
    def is_floating(self) -> builtins.bool:
        return self in _FLOATING

    @property
    def numpy(self) -> np.dtype:
        """The NumPy type with the same bits (``bfloat16`` by way of ``ml_dtypes``)."""
        return np.dtype(ml_dtypes.bfloat16) if self is DType.bfloat16 else np.dtype(self.value)

    @classmethod
    def of(cls, array: np.ndarray) -> DType:
        """The element type of ``array``; raises ``ValueError`` for one the IR does not have."""
        return cls(array.dtype.name)

    def __str__(self) -> str:
        return self.value


_FLOATING = frozenset({DType.float64, DType.float32, DType.float16, DType.bfloat16})
