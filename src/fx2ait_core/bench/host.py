"""What a call costs on the host, beyond the launch of its graph."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch

from ..runtime.engine import Engine

_BURST = 20
"""Calls in a row without waiting: few enough that a GPU's queue never makes the host wait."""
_LONG_BURST_S = 0.02
"""A burst is shorter where its calls, each a computation on the CPU, would take longer than this."""
_FEWEST_ROUNDS = 11


@dataclass(frozen=True)
class HostTime:
    """Median microseconds of the host per call, nothing waited for.

    :param call_us: ``engine(*inputs)`` in Python.
    :param run_us: the C call ``Fx2aitRun`` with arguments prepared (a bound call).
    :param graph_us: the launch of a CUDA graph of the same kernels, captured by PyTorch; None on the CPU,
        where ``run_us`` holds the computation itself.
    :param rounds: medians are taken of so many.
    """

    call_us: float
    run_us: float
    graph_us: float | None
    rounds: int

    @property
    def beyond_us(self) -> float:
        """Of ``call_us``, what is not the graph's launch (on the CPU: not the C call)."""
        return self.call_us - (self.run_us if self.graph_us is None else self.graph_us)


def host_time(
    engine: Engine, inputs: Sequence[torch.Tensor], rounds: int = 200, limit_s: float = 20.0
) -> HostTime:
    """Time calls in interleaved rounds. The smaller the batch, the less a full queue can disturb.

    :param limit_s: no round begins after so many seconds, once there are enough for a median.
    """
    calls: dict[str, Callable[[], object]] = {"call": lambda: engine(*inputs), "run": engine.bind(*inputs)}
    kept: Any = None
    if engine.device.type == "cuda":
        kept = engine.twin()  # a captured engine zeroes its workspaces ahead of later runs
        calls["graph"] = _captured(kept, inputs).replay
    for call in calls.values():
        for _ in range(2):  # the first record graphs
            _burst_s(engine.device, call, 1)
    once = max(_burst_s(engine.device, call, 1) for call in calls.values())
    burst = max(1, min(_BURST, int(_LONG_BURST_S / once)))
    taken: dict[str, list[float]] = {name: [] for name in calls}
    began = time.perf_counter()
    for made in range(rounds):
        if made >= _FEWEST_ROUNDS and time.perf_counter() - began > limit_s:
            break
        for name, call in calls.items():
            taken[name].append(_burst_s(engine.device, call, burst) / burst * 1e6)
    _wait(engine.device)
    medians = {name: median(times) for name, times in taken.items()}
    return HostTime(medians["call"], medians["run"], medians.get("graph"), len(taken["call"]))


def _burst_s(device: torch.device, call: Callable[[], object], count: int) -> float:
    """Seconds of ``count`` calls in a row that begin on an idle device."""
    _wait(device)
    started = time.perf_counter()
    for _ in range(count):
        call()
    return time.perf_counter() - started


def _captured(engine: Engine, inputs: Sequence[torch.Tensor]) -> torch.cuda.CUDAGraph:
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        engine(*inputs)  # loads the kernels, which a capture may not
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        engine(*inputs)
    return graph


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
