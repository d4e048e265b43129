"""An engine's shared library through ``ctypes``: the C ABI of ``fx2ait/model_interface.h``."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int, c_int64, c_size_t, c_ubyte, c_void_p
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from ..errors import ArtifactError, EngineError


class Tensor(ctypes.Structure):
    """``Fx2aitTensor``: pointer, shape, strides in elements, rank, dtype as the ABI numbers it."""

    _fields_ = [
        ("ptr", c_void_p),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("rank", c_size_t),
        ("dtype", c_int),
    ]


@dataclass(frozen=True)
class LaunchTime:
    """One launch of an engine: the node it computes, the kernel, its time."""

    node: str
    kernel: str
    milliseconds: float


def tensor_array(
    shapes: Sequence[Sequence[int]], strides: Sequence[Sequence[int]], dtypes: Sequence[int]
) -> Any:
    """An array of :class:`Tensor` with null pointers; it owns its shapes and strides."""
    array = (Tensor * len(shapes))()
    for item, shape, stride, dtype in zip(array, shapes, strides, dtypes, strict=True):
        item.shape = (c_int64 * len(shape))(*shape)
        item.strides = (c_int64 * len(shape))(*stride)
        item.rank = len(shape)
        item.dtype = dtype
    return array


_TENSORS = POINTER(Tensor)
_ABI: dict[str, list[Any]] = {
    "AITemplateModelContainerCreate": [POINTER(c_void_p), c_size_t, c_void_p],
    "AITemplateModelContainerDelete": [c_void_p],
    "AITemplateModelContainerGetNumInputs": [c_void_p, POINTER(c_size_t)],
    "AITemplateModelContainerGetNumOutputs": [c_void_p, POINTER(c_size_t)],
    "Fx2aitRun": [c_void_p, _TENSORS, c_size_t, _TENSORS, c_size_t, c_void_p, c_bool],
    "Fx2aitInferOutputShapes": [c_void_p, _TENSORS, c_size_t, POINTER(POINTER(c_int64)), c_size_t],
    "Fx2aitProfile": [
        *[c_void_p, _TENSORS, c_size_t, _TENSORS, c_size_t, c_void_p, c_size_t],
        *[POINTER(c_float), c_size_t, POINTER(c_size_t)],
    ],
    "Fx2aitTimeLaunches": [
        *[c_void_p, _TENSORS, c_size_t, _TENSORS, c_size_t, c_void_p, c_float, c_size_t],
        *[POINTER(c_float), c_size_t, POINTER(c_size_t)],
    ],
    "Fx2aitFillActivations": [c_void_p, c_ubyte],
    "Fx2aitGetBucketCount": [c_void_p, POINTER(c_size_t)],
    "Fx2aitGetLaunchCount": [c_void_p, c_size_t, POINTER(c_size_t)],
    "Fx2aitGetLaunchName": [c_void_p, c_size_t, c_size_t, POINTER(c_char_p), POINTER(c_char_p)],
    "Fx2aitGetMemoryBytes": [c_void_p, POINTER(c_size_t)],
    "Fx2aitSetThreads": [c_void_p, c_size_t],
}


class Container:
    """A loaded model container. It lives until the last reference is gone, runs under way included.

    :param path: the shared library.
    :param runtimes: runs that may be under way at a time, each with activation memory of its own.

    Raises :class:`~fx2ait_core.errors.ArtifactError` when the library cannot be loaded, and
    :class:`~fx2ait_core.errors.EngineError` when the engine cannot be created. On CUDA the
    container belongs to the current device.
    """

    def __init__(self, path: Path, runtimes: int = 1) -> None:
        self.handle: c_void_p | None = None
        try:
            self._library = ctypes.CDLL(str(path))
            for name, arguments in _ABI.items():
                function = getattr(self._library, name)
                function.argtypes = arguments
                function.restype = c_int
            self._library.Fx2aitGetLastError.restype = c_char_p
        except (OSError, AttributeError) as error:
            raise ArtifactError(f"The engine's library {path} cannot be loaded: {error}.") from error
        # Without declared arguments: given C objects only (see calls.py), which it does not have to convert.
        self.run = self._library["Fx2aitRun"]
        self._delete = self._library.AITemplateModelContainerDelete
        self._exclusive = threading.Lock()
        handle = c_void_p()
        self.call("AITemplateModelContainerCreate", ctypes.byref(handle), runtimes, None)
        self.handle = handle

    def __del__(self) -> None:
        if self.handle is not None:
            self._delete(self.handle)
            self.handle = None

    def call(self, function: str, *arguments: Any) -> None:
        """Raises :class:`~fx2ait_core.errors.EngineError` with the library's own words on failure."""
        if getattr(self._library, function)(*arguments) != 0:
            self.fail()

    def last_error(self) -> str:
        """The text of this thread's last failure."""
        return (self._library.Fx2aitGetLastError() or b"").decode(errors="replace") or "no reason given"

    def fail(self) -> NoReturn:
        raise EngineError(self.last_error())

    def count(self, function: str, *arguments: Any) -> int:
        """The ``size_t`` that ``function`` writes to its last parameter."""
        out = c_size_t()
        self.call(function, self.handle, *arguments, ctypes.byref(out))
        return out.value

    def output_shapes(self, inputs: Any, ranks: Sequence[int]) -> list[tuple[int, ...]] | None:
        """The outputs' shapes for these inputs, or None when the inputs are refused; launches nothing."""
        buffers = [(c_int64 * max(1, rank))() for rank in ranks]
        pointers = (POINTER(c_int64) * len(ranks))(*(ctypes.cast(b, POINTER(c_int64)) for b in buffers))
        infer = self._library.Fx2aitInferOutputShapes
        if infer(self.handle, inputs, len(inputs), pointers, len(ranks)) != 0:
            return None
        return [tuple(buffer[:rank]) for buffer, rank in zip(buffers, ranks, strict=True)]

    def profile(self, inputs: Any, outputs: Any, stream: int | None, iterations: int) -> list[LaunchTime]:
        """Mean time of each launch of the bucket that serves these inputs, in whole runs."""
        return self._times("Fx2aitProfile", inputs, outputs, stream, iterations)[1]

    def time_launches(
        self, inputs: Any, outputs: Any, stream: int | None, sample_ms: float, samples: int
    ) -> tuple[int, list[LaunchTime]]:
        """The bucket that serves these inputs, and the median time of each launch repeated by itself."""
        return self._times("Fx2aitTimeLaunches", inputs, outputs, stream, sample_ms, samples)

    def _times(self, function: str, inputs: Any, outputs: Any, *how: Any) -> tuple[int, list[LaunchTime]]:
        buckets = self.count("Fx2aitGetBucketCount")
        capacity = max((self.count("Fx2aitGetLaunchCount", i) for i in range(buckets)), default=0)
        times = (c_float * max(1, capacity))()
        bucket = c_size_t()
        arguments = [inputs, len(inputs), outputs, len(outputs), *how, times, capacity]
        self.call(function, self.handle, *arguments, ctypes.byref(bucket))
        launches = self.count("Fx2aitGetLaunchCount", bucket.value)
        found = [LaunchTime(*self._launch_name(bucket.value, i), float(times[i])) for i in range(launches)]
        return bucket.value, found

    def set_threads(self, threads: int) -> None:
        with self._exclusive:
            self.call("Fx2aitSetThreads", self.handle, threads)

    def _launch_name(self, bucket: int, index: int) -> tuple[str, str]:
        node, kernel = c_char_p(), c_char_p()
        names = (ctypes.byref(node), ctypes.byref(kernel))
        self.call("Fx2aitGetLaunchName", self.handle, bucket, index, *names)
        return (node.value or b"").decode(), (kernel.value or b"").decode()
