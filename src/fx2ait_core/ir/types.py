"""Types of values."""

from __future__ import annotations

from dataclasses import dataclass, replace

from .dims import Dim, Shape, element_count, simplify
from .dtypes import DType
from .layouts import Layout, row_major


@dataclass(frozen=True)
class TensorType:
    """Logical shape (PyTorch's order), element type and order in memory of a dense tensor."""

    shape: Shape
    dtype: DType
    layout: Layout

    def __post_init__(self) -> None:
        if self.layout.rank != len(self.shape):
            raise ValueError(f"layout {self.layout} does not fit a tensor of rank {len(self.shape)}")

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def element_count(self) -> Dim:
        return element_count(self.shape)

    @property
    def byte_count(self) -> Dim:
        return simplify(self.element_count * self.dtype.itemsize)

    @property
    def strides(self) -> tuple[Dim, ...]:
        """In elements, by logical dimension."""
        return self.layout.strides(self.shape)

    def with_dtype(self, dtype: DType) -> TensorType:
        return replace(self, dtype=dtype)

    def with_layout(self, layout: Layout) -> TensorType:
        return replace(self, layout=layout)

    def __str__(self) -> str:
        dims = ", ".join(str(dim) for dim in self.shape)
        suffix = "" if self.layout.is_row_major else f" {self.layout}"
        return f"{self.dtype}[{dims}]{suffix}"


def tensor_type(shape: Shape, dtype: DType, layout: Layout | None = None) -> TensorType:
    """A type, row-major unless a layout is given."""
    shape = tuple(simplify(dim) for dim in shape)
    return TensorType(shape, dtype, layout or row_major(len(shape)))
