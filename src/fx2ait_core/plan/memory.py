"""Memory of activations: lifetimes, offsets, and how good they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ALIGNMENT = 256


def aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


@dataclass(frozen=True)
class Lifetime:
    """A buffer of ``size`` bytes that is written at step ``first`` and last read at step ``last``."""

    size: int
    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        return self.first <= other.last and other.first <= self.last


def assign_offsets(lifetimes: Sequence[Lifetime]) -> list[int]:
    """Offsets in bytes, aligned to 256, so that buffers alive at once never overlap.

    Two greedy orders are tried, by size and by start, and the smaller arena wins. By size is the
    method of Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference"
    (2020): buffers, largest first, into the smallest gap between those already placed.
    """
    orders = (
        sorted(range(len(lifetimes)), key=lambda i: (-lifetimes[i].size, lifetimes[i].first, i)),
        sorted(range(len(lifetimes)), key=lambda i: (lifetimes[i].first, -lifetimes[i].size, i)),
    )
    placements = [_place(lifetimes, order) for order in orders]
    return min(placements, key=lambda offsets: arena_size(lifetimes, offsets))


def _place(lifetimes: Sequence[Lifetime], order: Iterable[int]) -> list[int]:
    offsets = [0] * len(lifetimes)
    placed: list[int] = []
    for index in order:
        size = aligned(lifetimes[index].size)
        taken = sorted(
            (offsets[other], offsets[other] + aligned(lifetimes[other].size))
            for other in placed
            if lifetimes[other].overlaps(lifetimes[index])
        )
        best, best_gap, cursor = None, None, 0
        for start, end in taken:
            gap = start - cursor
            if gap >= size and (best_gap is None or gap < best_gap):
                best, best_gap = cursor, gap
            cursor = max(cursor, end)
        offsets[index] = cursor if best is None else best
        placed.append(index)
    return offsets


def arena_size(lifetimes: Sequence[Lifetime], offsets: Sequence[int]) -> int:
    return max((o + aligned(life.size) for o, life in zip(offsets, lifetimes, strict=True)), default=0)


def lower_bound(lifetimes: Sequence[Lifetime]) -> int:
    """The most bytes alive at any one step: no arena can be smaller."""
    steps = {lifetime.first for lifetime in lifetimes}
    return max((sum(aligned(x.size) for x in lifetimes if x.first <= s <= x.last) for s in steps), default=0)
