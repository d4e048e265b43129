"""Layouts: the order in which the dimensions of a dense tensor lie in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .dims import Dim, simplify


@dataclass(frozen=True)
class Layout:
    """Dimensions from the slowest to the fastest in memory, e.g. ``(0, 2, 3, 1)`` for NHWC."""

    order: tuple[int, ...]

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.order))):
            raise ValueError(f"a layout is a permutation of its dimensions, not {self.order}")

    @property
    def rank(self) -> int:
        return len(self.order)

    @property
    def is_row_major(self) -> bool:
        return self.order == tuple(range(self.rank))

    @property
    def is_channels_last(self) -> bool:
        return self == channels_last(self.rank)

    def strides(self, shape: Sequence[Dim]) -> tuple[Dim, ...]:
        """Elements between neighbours along each logical dimension."""
        strides: list[Dim] = [1] * self.rank
        running: Dim = 1
        for axis in reversed(self.order):
            strides[axis] = running
            running = simplify(running * shape[axis])
        return tuple(strides)

    def permuted(self, permutation: Sequence[int]) -> Layout:
        """The layout of the same memory once dimension ``i`` is the old ``permutation[i]``."""
        return Layout(tuple(list(permutation).index(axis) for axis in self.order))

    def __str__(self) -> str:
        if self.is_row_major:
            return "row_major"
        if self.is_channels_last:
            return "channels_last"
        return "order" + "".join(str(axis) for axis in self.order)


def row_major(rank: int) -> Layout:
    return Layout(tuple(range(rank)))


def channels_last(rank: int) -> Layout:
    """Channels (dimension 1) fastest; the same as row-major below rank 3."""
    return row_major(rank) if rank < 3 else Layout((0, *range(2, rank), 1))
