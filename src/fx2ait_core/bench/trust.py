"""Whether an engine answers the same, bit by bit: again and again, on any memory, beside another one."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from .accuracy import tensors

_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
BURST = 10
"""Calls of an engine in a row, beside another one's."""
NAN_BYTE = 0xFF
"""Memory full of it is NaN in every floating-point type."""
RUNS_PER_FILL = 4
"""On CUDA the first run launches kernels, the second records a graph, later ones replay it."""


class Fillable(Protocol):
    """An engine whose activation memory can be overwritten."""

    def __call__(self, *inputs: torch.Tensor) -> Any: ...
    def fill_activations(self, byte: int = NAN_BYTE) -> None: ...


def differing_repeats(engine: Callable[..., Any], inputs: Sequence[torch.Tensor], repetitions: int) -> int:
    """How many of ``repetitions`` further runs differ in any bit from the first one."""
    first = _answer(engine, inputs)
    count = _Count(first)
    for _ in range(repetitions):
        count.add(tensors(engine(*inputs)))
    return count.value


def differing_on_filled_memory(
    engine: Fillable, inputs: Sequence[torch.Tensor], bytes_: Sequence[int] = (NAN_BYTE, 0x7B)
) -> int:
    """How many runs differ in any bit from one before, when activations and workspaces were overwritten
    ahead with each of ``bytes_``, and new tensors, so outputs too, come full of NaN."""
    count = _Count(_answer(engine, inputs))
    for byte in bytes_:
        for _ in range(RUNS_PER_FILL):
            engine.fill_activations(byte)
            with new_tensors_are_nan():
                count.add(tensors(engine(*inputs)))
    return count.value


def differing_together(
    engines: Sequence[Callable[..., Any]], inputs: Sequence[Sequence[torch.Tensor]], bursts: int
) -> int:
    """How many runs differ in any bit from those of one engine alone, when all run at the same time.

    Each engine has a thread, and on CUDA a stream, of its own, and is called ``10 * bursts`` times with
    its own ``inputs``. Raises what a thread raises.
    """
    counts = [_Count(_answer(engine, given)) for engine, given in zip(engines, inputs, strict=True)]
    _wait(inputs[0][0].device)  # the threads' streams do not wait for this one's
    barrier = threading.Barrier(len(engines))
    faults: list[BaseException] = []

    def work(engine: Callable[..., Any], given: Sequence[torch.Tensor], count: _Count) -> None:
        try:
            with _own_stream(given[0].device):
                for _ in range(bursts):
                    barrier.wait()
                    for answer in [tensors(engine(*given)) for _ in range(BURST)]:
                        count.add(answer)
                _wait(given[0].device)
        except BaseException as error:  # handed on to the caller
            faults.append(error)
            barrier.abort()

    threads = [
        threading.Thread(target=work, args=arguments)
        for arguments in zip(engines, inputs, counts, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if cause := next((f for f in faults if not isinstance(f, threading.BrokenBarrierError)), None):
        raise cause
    return sum(count.value for count in counts)


def differing_after_another_process(
    load: Callable[[Path], Any], path: Path, inputs: Sequence[Sequence[torch.Tensor]], processes: int = 3
) -> int:
    """How many answers of a saved engine differ in any bit between processes that follow one another.

    Each loads the engine by ``load(path)``, answers all of ``inputs`` once, and on CUDA leaves most of the
    free memory full of NaN to the next. Raises what a process raises.
    """
    # As arrays, which travel whole: a tensor's memory would be shared with a process that has gone.
    given = [[(tensor.dtype, _bits(tensor.cpu()).numpy()) for tensor in each] for each in inputs]
    # New interpreters, each of which ends before the next one begins.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        first, *others = [
            pool.submit(_answer_and_litter, load, path, given).result() for _ in range(processes)
        ]
    differing = 0
    for answers in others:
        for mine, expected in zip(answers, first, strict=True):
            count = _Count([torch.from_numpy(bits) for bits in expected])
            count.add([torch.from_numpy(bits) for bits in mine])
            differing += count.value
    return differing


@contextmanager
def new_tensors_are_nan() -> Iterator[None]:
    """Inside, PyTorch fills the tensors that it makes without values with NaN (integers: the largest)."""
    settings: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=warn_only)
        settings.fill_uninitialized_memory = before[1]


class _Count:
    """Answers that differ from the first, counted on the device, so that nothing waits meanwhile."""

    def __init__(self, first: Sequence[torch.Tensor]) -> None:
        self._first = [_bits(tensor) for tensor in first]
        self._differing = torch.zeros((), dtype=torch.int64, device=first[0].device)
        self._misshapen = 0

    def add(self, answer: Sequence[torch.Tensor]) -> None:
        if [tensor.shape for tensor in answer] != [tensor.shape for tensor in self._first]:
            self._misshapen += 1
            return
        unequal = [(_bits(a) != f).any() for a, f in zip(answer, self._first, strict=True)]
        self._differing += torch.stack(unequal).any()

    @property
    def value(self) -> int:
        return self._misshapen + int(self._differing)


def _answer_and_litter(
    load: Callable[[Path], Any], path: Path, inputs: Sequence[Sequence[tuple[torch.dtype, np.ndarray]]]
) -> list[list[np.ndarray]]:
    """The bits of all answers."""
    engine = load(path)
    answers = []
    for each in inputs:
        given = [torch.from_numpy(bits).view(dtype).to(engine.device) for dtype, bits in each]
        answers.append([_bits(tensor).cpu().numpy() for tensor in tensors(engine(*given))])
    if engine.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(engine.device)
        torch.empty(free * 9 // 10, dtype=torch.uint8, device=engine.device).fill_(NAN_BYTE)
        torch.cuda.synchronize(engine.device)
    return answers


def _answer(engine: Callable[..., Any], inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    answer = [tensor.clone() for tensor in tensors(engine(*inputs))]
    _wait(inputs[0].device)
    return answer


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    """Equal for equal bits, NaN included."""
    return tensor.view(_INTEGERS[tensor.dtype.itemsize])


def _own_stream(device: torch.device) -> AbstractContextManager[Any]:
    return torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
