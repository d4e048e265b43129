"""Few kernels for many sizes: sizes of a problem share a configuration where that costs them nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

Key = TypeVar("Key", bound=tuple[str, ...])


def share(rivals: Sequence[Mapping[Key, float]]) -> list[Key]:
    """One configuration for each size of a problem, as few distinct ones as a greedy cover finds.

    Deterministic: between configurations that serve equally many sizes the one with the least loss
    wins, then the one that comes first for the first of those sizes.

    :param rivals: for each size the configurations that it may have, with their times, none empty.
    """
    best = [min(times.values()) for times in rivals]
    chosen: dict[int, Key] = {}
    while len(chosen) < len(rivals):
        served: dict[Key, list[int]] = {}
        for index, times in enumerate(rivals):
            if index not in chosen:
                for key in times:
                    served.setdefault(key, []).append(index)

        def loss(key: Key, served: Mapping[Key, list[int]] = served) -> tuple[int, float]:
            lost = sum(rivals[index][key] / best[index] - 1 for index in served[key] if best[index] > 0)
            return -len(served[key]), lost

        winner = min(served, key=loss)
        chosen |= dict.fromkeys(served[winner], winner)
    return [chosen[index] for index in range(len(rivals))]
