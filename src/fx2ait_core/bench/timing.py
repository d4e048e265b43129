"""Interleaved timing: every round measures every path, so that drift of clocks hits all alike."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from statistics import median
from typing import TypeVar

import torch

TARGET_MS = {"cuda": 20.0, "cpu": 50.0}
"""A measurement repeats the call until it takes about this long, so that the clock's grain and the
launch of the first call do not show."""
MAX_CALLS = 1000
FEWEST_ROUNDS = 5
"""A time limit leaves at least so many rounds, or the median would be one of two."""

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True)
class TimedPath:
    """Something to measure: ``call`` runs once; ``context`` is entered around each measurement."""

    call: Callable[[], object]
    context: Callable[[], AbstractContextManager[object]] = field(default=nullcontext)


@dataclass(frozen=True)
class Timing:
    """Milliseconds per call over ``rounds`` rounds of ``calls`` back-to-back calls each."""

    ms_median: float
    ms_min: float
    ms_max: float
    rounds: int
    calls: int


def interleaved(
    paths: Mapping[Name, TimedPath],
    device: torch.device,
    rounds: int = 20,
    warmup: int = 3,
    limit_s: float = math.inf,
) -> dict[Name, Timing]:
    """Time all ``paths`` in turns.

    Each path first runs ``warmup`` times. A round measures each path once, the order turning by one
    from round to round. On cuda the time is that between two events around back-to-back calls on the
    current stream; elsewhere it is wall time.

    :param limit_s: no round begins after so many seconds of rounds, once there are ``FEWEST_ROUNDS``.
    """
    calls: dict[Name, int] = {}
    for name, path in paths.items():
        with path.context():
            for _ in range(warmup):
                path.call()
            once = min(_measure(path.call, 1, device), _measure(path.call, 2, device))
        calls[name] = max(1, min(MAX_CALLS, round(TARGET_MS[device.type] / max(once, 1e-3))))
    taken: dict[Name, list[float]] = {name: [] for name in paths}
    names = list(paths)
    began = time.perf_counter()
    for number in range(rounds):
        if number >= FEWEST_ROUNDS and time.perf_counter() - began > limit_s:
            break
        turn = number % max(1, len(names))
        for name in names[turn:] + names[:turn]:
            with paths[name].context():
                if device.type == "cuda":
                    paths[name].call()  # the context may have changed what the first call does
                taken[name].append(_measure(paths[name].call, calls[name], device))
    return {
        name: Timing(median(times), min(times), max(times), len(times), calls[name])
        for name, times in taken.items()
    }


def _measure(call: Callable[[], object], calls: int, device: torch.device) -> float:
    """Milliseconds per call."""
    if device.type == "cuda":
        with torch.cuda.device(device):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            torch.cuda.synchronize()
            begin.record()
            for _ in range(calls):
                call()
            end.record()
            end.synchronize()
            return float(begin.elapsed_time(end)) / calls
    started = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - started) * 1e3 / calls
