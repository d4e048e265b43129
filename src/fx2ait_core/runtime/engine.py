"""A compiled model that is called like the module it was made from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils import _pytree as pytree

from ..errors import ArtifactError, EngineError, EngineInputError
from ..settings import Settings
from .library import Container, LaunchTime, tensor_array
from .ports import ABI_DTYPES, EnginePort

_CALLS_KEPT = 256  # prepared calls per thread


class _Call:
    """Arguments of the C call for one set of shapes, strides and dtypes; belongs to one thread."""

    __slots__ = ("input_count", "inputs", "output_count", "outputs", "recipes")

    def __init__(self, inputs: Any, outputs: Any, recipes: Sequence[tuple[Any, ...]]) -> None:
        self.inputs = inputs
        self.outputs = outputs
        self.input_count = len(inputs)
        self.output_count = len(outputs)
        self.recipes = recipes  # shape, strides, dtype of each output


class _Calls(threading.local):
    """Prepared calls of the present thread."""

    def __init__(self) -> None:
        self.prepared: dict[tuple[Any, ...], _Call] = {}


class Engine:
    """An engine: tensors in, tensors out, on the caller's current CUDA stream.

    May be called from several threads at once; as many runs as ``runtimes`` proceed together.
    Inputs are read in place, in any strides without overlap (contiguous, channels-last, slices);
    outputs are new tensors.

    :param library_path: the engine's shared library.
    :param manifest: what was emitted with it: ``name``, ``inputs``, ``outputs``, ``symbols``,
        ``target``, and on to the plan's summary.
    :param settings: ``threads`` are used by cpu engines.
    :param source_directory: the source tree, where one was kept.
    :param runtimes: runs that may be under way at a time; each has activation memory of its own.

    Raises :class:`~fx2ait_core.errors.ArtifactError` when the library does not fit the manifest,
    and :class:`~fx2ait_core.errors.EngineError` when the device refuses.
    """

    def __init__(
        self,
        library_path: Path,
        manifest: Mapping[str, Any],
        settings: Settings,
        source_directory: Path | None = None,
        runtimes: int = 1,
    ) -> None:
        self.library_path = library_path
        self.manifest = manifest
        self.settings = settings
        self.source_directory = source_directory
        self.inputs = tuple(map(EnginePort.of, manifest["inputs"]))
        self.outputs = tuple(map(EnginePort.of, manifest["outputs"]))
        self.device = _device(manifest["target"]["name"])
        self.graph_mode = True  # replay a CUDA graph per shape; without effect on the CPU
        self._stream = _stream_reader(self.device)
        self._elsewhere = _elsewhere(self.device)
        self._container: Container | None = Container(library_path, runtimes)
        self._check_fit(self._container)
        if self.device.type == "cpu":
            self._container.set_threads(settings.threads)
        self._calls = _Calls()
        self._structure = _structure(manifest, len(self.outputs))

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def target(self) -> Mapping[str, Any]:
        """Name, architecture and device that the engine was compiled for."""
        return dict(self.manifest["target"])

    @property
    def memory(self) -> Mapping[str, Any]:
        """The planner's report in bytes, and ``allocated``: what the engine holds now."""
        allocated = self._open().count("Fx2aitGetMemoryBytes")
        return {**self.manifest.get("memory", {}), "allocated": allocated}

    @property
    def plan(self) -> Any:
        """The plan's summary: kernels with their choices, and launches by bucket."""
        return self.manifest.get("plan", {})

    def __repr__(self) -> str:
        ports = ", ".join(f"{port.name}: {port}" for port in self.inputs)
        results = ", ".join(map(str, self.outputs))
        return f"<Engine {self.name} for {self.target['name']} ({ports}) -> {results}>"

    def __call__(self, *inputs: torch.Tensor, **named: torch.Tensor) -> Any:
        """Run the engine, by position or by input names.

        Returns what the model returned: a tensor, or tensors in the model's own structure. On
        CUDA the work is enqueued on the current stream; results are safe to use on that stream.

        Raises :class:`~fx2ait_core.errors.EngineInputError` when an input does not fit (nothing
        is launched), and :class:`~fx2ait_core.errors.EngineError` when the run fails.
        """
        if named:
            inputs = self._ordered(inputs, named)
        if self._elsewhere():
            with torch.cuda.device(self.device):
                return self(*inputs)
        container = self._container
        device = self.device
        try:
            key = tuple([(x.shape, x.stride(), x.dtype) for x in inputs])
            call = self._calls.prepared.get(key)
            if call is None or any([x.device != device for x in inputs]):  # noqa: C419  (quicker)
                call = self._prepare(key, inputs)
        except (AttributeError, RuntimeError, TypeError):
            call = self._prepare((), inputs)  # says which input is no dense tensor
        if container is None:
            container = self._open()
        for slot, tensor in zip(call.inputs, inputs, strict=True):
            slot.ptr = tensor.data_ptr()
        results = [
            torch.empty_strided(shape, strides, dtype=dtype, device=device)
            for shape, strides, dtype in call.recipes
        ]
        for slot, tensor in zip(call.outputs, results, strict=True):
            slot.ptr = tensor.data_ptr()
        code = container.run(
            container.handle,
            call.inputs,
            call.input_count,
            call.outputs,
            call.output_count,
            self._stream(),
            self.graph_mode,
        )
        if code != 0:
            self._refuse(container, call)
        return self._structure(results)

    def profile(
        self, *inputs: torch.Tensor, iterations: int = 100, **named: torch.Tensor
    ) -> list[LaunchTime]:
        """Mean milliseconds of each launch for these inputs, run one by one; same errors as a call."""
        inputs = self._ordered(inputs, named)
        call = self._prepare((), inputs)
        results = [torch.empty_strided(s, t, dtype=d, device=self.device) for s, t, d in call.recipes]
        for slot, tensor in zip([*call.inputs, *call.outputs], [*inputs, *results], strict=True):
            slot.ptr = tensor.data_ptr()
        return self._open().profile(call.inputs, call.outputs, self._stream(), iterations)

    def save(self, path: Path | str) -> Path:
        """Write the engine to one file; see :func:`fx2ait_core.runtime.artifact.save`."""
        from .artifact import save  # noqa: PLC0415  (it imports this module)

        return save(self, Path(path))

    def close(self) -> None:
        """Free the engine's memory once the runs under way have ended; later calls are errors."""
        self._container = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self) -> Container:
        if self._container is None:
            raise EngineError(f"The engine {self.name} is closed.")
        return self._container

    def _ordered(
        self, inputs: tuple[torch.Tensor, ...], named: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        """All inputs by position."""
        names = [port.name for port in self.inputs]
        missing = [name for name in names[len(inputs) :] if name not in named]
        unknown = [name for name in named if name not in names[len(inputs) :]]
        if len(inputs) > len(names) or missing or unknown:
            parts = [f"{len(inputs)} given by position"]
            parts += [f"{name} is missing" for name in missing]
            parts += [
                f"{name} is given twice" if name in names else f"there is no {name}" for name in unknown
            ]
            expected = ", ".join(f"{port.name}: {port}" for port in self.inputs)
            raise EngineInputError(f"{self.name} takes {expected}; {', '.join(parts)}.")
        return (*inputs, *(named[name] for name in names[len(inputs) :]))

    def _prepare(self, key: tuple[Any, ...], inputs: Sequence[torch.Tensor]) -> _Call:
        """Check the inputs and lay out the C call's arguments, remembered under ``key`` if not empty."""
        container = self._open()
        self._ordered(tuple(inputs), {})
        for port, tensor in zip(self.inputs, inputs, strict=True):
            port.check(tensor, self.device)
        shapes, strides = [x.shape for x in inputs], [x.stride() for x in inputs]
        given = tensor_array(shapes, strides, [ABI_DTYPES[x.dtype] for x in inputs])
        for slot, tensor in zip(given, inputs, strict=True):
            slot.ptr = tensor.data_ptr()
        found = container.output_shapes(given, [len(port.shape) for port in self.outputs])
        if found is None:
            raise EngineInputError(container.last_error())
        recipes = [
            (shape, tuple(map(int, port.layout.strides(shape))), port.dtype)
            for port, shape in zip(self.outputs, found, strict=True)
        ]
        made = tensor_array(found, [r[1] for r in recipes], [ABI_DTYPES[r[2]] for r in recipes])
        call = _Call(given, made, recipes)
        if key:
            prepared = self._calls.prepared
            if len(prepared) >= _CALLS_KEPT:
                prepared.clear()
            prepared[key] = call
        return call

    def _refuse(self, container: Container, call: _Call) -> None:
        """Tell an input that does not fit (an address, which is not checked ahead) from a failed run."""
        words = container.last_error()
        if container.output_shapes(call.inputs, [len(port.shape) for port in self.outputs]) is None:
            raise EngineInputError(words)
        raise EngineError(f"{self.name}: {words}")

    def _check_fit(self, container: Container) -> None:
        for what, ports in (("Inputs", self.inputs), ("Outputs", self.outputs)):
            count = container.count(f"AITemplateModelContainerGetNum{what}")
            if count != len(ports):
                raise ArtifactError(
                    f"The library {self.library_path} has {count} {what.lower()}, its manifest {len(ports)}; "
                    "they are not of one engine."
                )


def _device(target: str) -> torch.device:
    if target == "cuda":
        if not torch.cuda.is_available():
            raise EngineError(
                "The engine runs on CUDA, but PyTorch finds no usable GPU; check the driver with nvidia-smi."
            )
        torch.cuda.init()
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _stream_reader(device: torch.device) -> Callable[[], int | None]:
    """A function that gives the current stream of ``device`` as an integer; None on the CPU."""
    if device.type != "cuda":
        return lambda: None
    raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)  # a tenth of the time of current_stream()
    index = device.index
    if raw is not None:
        return lambda: raw(index)
    return lambda: torch.cuda.current_stream(index).cuda_stream


def _elsewhere(device: torch.device) -> Callable[[], bool]:
    """Whether another GPU than ``device`` is the current one, in which case its streams do not serve."""
    if device.type != "cuda" or torch.cuda.device_count() == 1:
        return lambda: False
    return lambda: torch.cuda.current_device() != device.index


def _structure(manifest: Mapping[str, Any], outputs: int) -> Callable[[list[torch.Tensor]], Any]:
    """How results are handed back: in the model's own structure, else a tensor or a tuple."""
    text = manifest.get("output_structure")
    if text:
        try:
            spec = pytree.treespec_loads(text)
        except (ValueError, NotImplementedError, KeyError) as error:
            raise ArtifactError(f"The manifest's output structure cannot be read: {error}.") from error
        if spec.num_leaves != outputs:
            raise ArtifactError(
                f"The manifest's output structure has {spec.num_leaves} leaves, the engine {outputs} outputs."
            )
        if not spec.is_leaf():
            return lambda results: pytree.tree_unflatten(results, spec)
    if outputs == 1:
        return lambda results: results[0]
    return tuple


