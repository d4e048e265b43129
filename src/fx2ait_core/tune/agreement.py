"""Candidates that compute something else than the others."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from typing import TypeVar

import numpy as np

FAR = 0.02
"""Relative L2 distance of answers that are not the same. Rounding to bfloat16 alone makes up 0.002; a tile in
a thousand that is wrong makes up 0.03."""

Name = TypeVar("Name", bound=Hashable)


def outvoted(answers: Mapping[Name, np.ndarray]) -> dict[Name, float]:
    """The names whose answer is not that of the largest group, with their distance from it.

    Of groups that are equally large, the one that comes first is right.

    :param answers: float arrays of one shape; the answers of equal problems to equal operands.
    """
    groups: list[list[Name]] = []
    for name, answer in answers.items():
        for group in groups:
            if distance(answer, answers[group[0]]) <= FAR:
                group.append(name)
                break
        else:
            groups.append([name])
    if len(groups) < 2:
        return {}
    right = max(groups, key=len)
    return {
        name: distance(answers[name], answers[right[0]])
        for group in groups
        if group is not right
        for name in group
    }


def distance(answer: np.ndarray, other: np.ndarray) -> float:
    """Relative L2 distance from ``other``.

    A place where only one is finite, or where they are not finite in different ways, counts as wrong by as
    much as ``other`` is large there on average.
    """
    finite = np.isfinite(answer) & np.isfinite(other)
    alike = finite | (answer == other) | (np.isnan(answer) & np.isnan(other))
    misfits = np.count_nonzero(~alike) / max(1, alike.size)
    one, two = answer[finite].astype(np.float64), other[finite].astype(np.float64)
    apart, size = float(np.linalg.norm(one - two)), float(np.linalg.norm(two))
    if apart == 0:
        return math.sqrt(misfits)
    return math.hypot(apart / size, math.sqrt(misfits)) if size > 0 else math.inf
