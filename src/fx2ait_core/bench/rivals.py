"""The rivals that an engine is measured beside: PyTorch in its usual ways of running a model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch

from .accuracy import at_precision, converted
from .timing import TimedPath

Inputs: TypeAlias = Sequence[torch.Tensor]


class Contender(Protocol):
    """A way of running a model that can be timed beside an engine."""

    @property
    def path(self) -> str: ...
    @property
    def compile_mode(self) -> str | None: ...
    def prepare(self, model: torch.nn.Module, inputs: Inputs, device: torch.device) -> TimedPath: ...


@dataclass(frozen=True)
class Rival:
    """A way of running a model.

    :param path: its name in reports.
    :param precision: dtype of weights and inputs.
    :param channels_last: weights and rank-4 inputs in channels-last memory.
    :param search: ``cudnn.benchmark`` on.
    :param compile_mode: mode of ``torch.compile``; None runs eagerly.
    """

    path: str
    precision: torch.dtype
    channels_last: bool = False
    search: bool = False
    compile_mode: str | None = None

    def prepare(self, model: torch.nn.Module, inputs: Inputs, device: torch.device) -> TimedPath:
        """The path ready to be timed on ``inputs``, which are converted ahead, outside the timed call.

        ``model`` is copied. A ``torch.compile`` rival is compiled here, for exactly these shapes, with
        its weights frozen.
        """
        made: Any = at_precision(model, self.precision, device)
        given = converted(inputs, self.precision, device)
        if self.channels_last:
            made = made.to(memory_format=torch.channels_last)
            given = tuple(_channels_last(tensor) for tensor in given)
        run: Callable[..., Any] = made
        context = _searching if self.search else nullcontext
        if self.compile_mode is not None:
            run = torch.compile(made, mode=self.compile_mode, dynamic=False)
            with torch.no_grad(), _frozen(), context():
                for _ in range(3):  # compiles, warms up, records the graph
                    run(*given)

        def call() -> Any:
            with torch.no_grad():
                return run(*given)

        return TimedPath(call, context)


@dataclass(frozen=True)
class EngineRival:
    """Another engine for the same model, for example one for an older architecture."""

    path: str
    engine: Callable[..., Any]
    compile_mode: str | None = None

    def prepare(self, model: torch.nn.Module, inputs: Inputs, device: torch.device) -> TimedPath:
        """The engine on ``inputs``, run once."""
        self.engine(*inputs)
        return TimedPath(lambda: self.engine(*inputs))


def forget_compiled() -> None:
    """Drop what ``torch.compile`` made so far, so that another shape is compiled as if it were the first."""
    torch._dynamo.reset()


def usual_rivals(device: str, compile_modes: Sequence[str] = ()) -> tuple[Rival, ...]:
    """The rivals on ``device``. The eager one in PyTorch's default memory layout is the baseline, and first.

    :param compile_modes: modes of ``torch.compile`` tried; the report keeps the fastest. By default
        ``reduce-overhead`` on cuda and ``default`` on cpu.
    """
    if device == "cuda":
        half = torch.float16
        modes = compile_modes or ("reduce-overhead",)
        return (
            Rival("eager_fp16", half),
            Rival("eager_fp16_channels_last", half, channels_last=True, search=True),
            *(Rival("torch_compile", half, True, True, mode) for mode in modes),
        )
    single = torch.float32
    return (
        Rival("eager", single),
        Rival("eager_channels_last", single, channels_last=True),
        *(Rival("torch_compile", single, True, False, mode) for mode in compile_modes or ("default",)),
    )


def _channels_last(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


@contextmanager
def _searching() -> Iterator[None]:
    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@contextmanager
def _frozen() -> Iterator[None]:
    import torch._inductor.config as inductor  # noqa: PLC0415  # seconds, and only torch.compile needs it

    with inductor.patch(freezing=True):
        yield
