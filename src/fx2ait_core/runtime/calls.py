"""Prepared calls: the C arguments for one set of shapes, strides and dtypes, made once and used often."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from ctypes import c_bool, c_size_t, c_void_p
from functools import partial
from typing import Any, TypeAlias

import torch

from .library import Container, tensor_array
from .ports import ABI_DTYPES, EnginePort

_CALLS_KEPT = 256  # per thread

Key: TypeAlias = tuple[Any, ...]
"""Shape, strides and dtype of each input: all that a prepared call depends on but the device."""

GRAPH, PLAIN = c_bool(True), c_bool(False)


class PreparedCall:
    """Arguments of the C call; belongs to one thread. Only pointers, stream and graph mode are yet to be set.

    ``leading`` are the arguments before stream and graph mode, as C objects that need no conversion.
    Setting ``ptr`` of a slot sets the pointer of an input or output.
    """

    __slots__ = ("input_slots", "inputs", "leading", "makers", "output_slots", "outputs", "stream")

    def __init__(
        self,
        container: Container,
        inputs: Any,
        outputs: Any,
        makers: Sequence[Callable[[], torch.Tensor]],
    ) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.input_slots = list(inputs)
        self.output_slots = list(outputs)
        self.leading = (container.handle, inputs, c_size_t(len(inputs)), outputs, c_size_t(len(outputs)))
        self.makers = makers  # of each output
        self.stream = c_void_p()

    def new_outputs(self) -> list[torch.Tensor]:
        """Tensors for the outputs, and their pointers set."""
        made = [make() for make in self.makers]
        for slot, tensor in zip(self.output_slots, made, strict=True):
            slot.ptr = tensor.data_ptr()
        return made


class PreparedCalls(threading.local):
    """Prepared calls of the present thread."""

    def __init__(self) -> None:
        self.known: dict[Key, PreparedCall] = {}

    def keep(self, key: Key, call: PreparedCall) -> None:
        if len(self.known) >= _CALLS_KEPT:
            self.known.clear()
        self.known[key] = call


def prepared_call(
    container: Container,
    inputs: Sequence[torch.Tensor],
    ports: Sequence[EnginePort],
    device: torch.device,
) -> PreparedCall | None:
    """The call for these inputs, their pointers set, outputs as ``ports`` say; None when they do not fit."""
    given = tensor_array(
        [x.shape for x in inputs], [x.stride() for x in inputs], [ABI_DTYPES[x.dtype] for x in inputs]
    )
    for slot, tensor in zip(given, inputs, strict=True):
        slot.ptr = tensor.data_ptr()
    found = container.output_shapes(given, [len(port.shape) for port in ports])
    if found is None:
        return None
    strides = [tuple(map(int, port.layout.strides(s))) for port, s in zip(ports, found, strict=True)]
    made = tensor_array(found, strides, [ABI_DTYPES[port.dtype] for port in ports])
    makers = [
        partial(torch.empty_strided, shape, stride, dtype=port.dtype, device=device)
        for shape, stride, port in zip(found, strides, ports, strict=True)
    ]
    return PreparedCall(container, given, made, makers)


class BoundCall:
    """A call with its inputs and outputs settled: each call runs the engine on the same memory again.

    Nothing is checked or allocated any more. New values are copied into :attr:`inputs`, results are read
    from :attr:`outputs`; on CUDA the work is enqueued on the current stream. For one thread at a time.
    """

    def __init__(
        self,
        container: Container,
        call: PreparedCall,
        inputs: Sequence[torch.Tensor],
        outputs: Sequence[torch.Tensor],
        stream: Callable[[], int] | None,
    ) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self._container = container
        self._call = call
        self._stream = stream

    def __call__(self) -> None:
        """Raises :class:`~fx2ait_core.errors.EngineError` when the run fails."""
        if self._stream is not None:
            self._call.stream.value = self._stream()
        if self._container.run(*self._call.leading, self._call.stream, GRAPH) != 0:
            self._container.fail()
