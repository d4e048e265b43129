"""What takes part in a choice of kernels, and what comes out of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..extend.contributions import Candidate, Kernel, KernelSource
from ..extend.problem import Problem

JOB_NAME = "candidate"  # the launcher of every measured source, so that equal sources have equal hashes


@dataclass(frozen=True)
class Offer:
    """A kernel in one configuration, and the distribution that brought it."""

    kernel: Kernel
    distribution: str
    candidate: Candidate

    def choice(self, microseconds: float, how: Literal["measured", "cached", "heuristic"]) -> Choice:
        """This offer as the one that was chosen."""
        return Choice(self.kernel, self.distribution, self.candidate, microseconds, how)


@dataclass(frozen=True)
class Job:
    """A source to measure; its launcher is called ``candidate``."""

    problem: Problem
    offer: Offer
    source: KernelSource

    def __str__(self) -> str:
        return f"{self.offer.kernel.name} {self.offer.candidate.config}"


@dataclass(frozen=True)
class Timed:
    """A job's time, and what it computed.

    :param answer: elements of its results, float32, equal places for all jobs of a problem; they were all
        given the same operands. None where nobody looked.
    """

    microseconds: float
    answer: np.ndarray | None = None


@dataclass(frozen=True)
class Failed:
    """Why a job has no time. ``lasting``: it will fail again, so the cache may remember it."""

    reason: str
    lasting: bool = True


Measure = Callable[[Sequence[Job]], Iterable[Timed | Failed]]
"""Builds all jobs and yields, in order, each one's time and answer or why it failed."""


@dataclass(frozen=True)
class Device:
    """Where measured times hold: the device's name and the identity of compiler and flags."""

    name: str
    compiler: str


@dataclass(frozen=True)
class Policy:
    """How much to measure.

    :param within: candidates estimated at more than this times the best estimate are left out.
    :param at_most: of the rest, so many with the best estimates are measured.
    :param close: candidates this close to the best, as a fraction, are measured again.
    :param rounds: measurements of such candidates in all; their median decides.
    :param alike_times: measured times this close to the best, as a fraction, count as equal to it:
        sizes of a problem then share a kernel, which is compiled, and its constants stored, once.
    :param alike_estimates: the same for estimates.
    """

    within: float = 3.0
    at_most: int = 12
    close: float = 0.03
    rounds: int = 3
    alike_times: float = 0.005
    alike_estimates: float = 0.02


@dataclass(frozen=True)
class Choice:
    """The kernel for a problem. ``microseconds`` are measured, or estimated if ``choice`` is heuristic."""

    kernel: Kernel
    distribution: str
    candidate: Candidate
    microseconds: float
    choice: Literal["measured", "cached", "heuristic"]
