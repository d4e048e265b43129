"""A compiled model that is called like the module it was made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch.utils import _pytree as pytree

from ..errors import ArtifactError, EngineError, EngineInputError
from ..settings import Settings
from .calls import GRAPH, PLAIN, BoundCall, Key, PreparedCall, PreparedCalls, prepared_call
from .library import Container, LaunchTime
from .ports import EnginePort


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
        self._calls = PreparedCalls()
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
        if self._elsewhere is not None and self._elsewhere():
            with torch.cuda.device(self.device):
                return self(*inputs)
        device = self.device
        try:
            key = tuple([(x.shape, x.stride(), x.dtype) for x in inputs])
            call = self._calls.known.get(key)
            if call is None:
                call = self._prepare(inputs, key)
            for slot, tensor in zip(call.input_slots, inputs, strict=True):
                if tensor.device != device or tensor.is_neg():
                    self._prepare(inputs)  # says so
                slot.ptr = tensor.data_ptr()
        except (AttributeError, RuntimeError, TypeError):
            call = self._prepare(inputs)  # says which input is no dense tensor
        container = self._container or self._open()
        results = call.new_outputs()
        stream = call.stream
        if self._stream is not None:
            stream.value = self._stream()
        if container.run(*call.leading, stream, GRAPH if self.graph_mode else PLAIN) != 0:
            self._refuse(container, call)
        return self._structure(results)

    def bind(self, *inputs: torch.Tensor, **named: torch.Tensor) -> BoundCall:
        """A call on these tensors and on outputs of its own, as quick as the engine can be called.

        Same errors as a call. The engine's memory stays as long as the bound call does.
        """
        inputs = self._ordered(inputs, named)
        call = self._prepare(inputs)
        return BoundCall(self._open(), call, inputs, call.new_outputs(), self._stream)

    def profile(
        self, *inputs: torch.Tensor, iterations: int = 100, **named: torch.Tensor
    ) -> list[LaunchTime]:
        """Mean milliseconds of each launch for these inputs, run one by one; same errors as a call."""
        call, _results = self._with_outputs(inputs, named)
        return self._open().profile(call.inputs, call.outputs, self._present_stream(), iterations)

    def time_launches(
        self, *inputs: torch.Tensor, sample_ms: float = 2.0, samples: int = 5, **named: torch.Tensor
    ) -> tuple[int, list[LaunchTime]]:
        """The bucket that serves these inputs, and milliseconds of each of its launches repeated by itself.

        Launches are timed in order, so that each finds the data that it finds in a run. A time is the
        median of ``samples`` samples; a sample is as many repetitions (at most 200) without gaps as take
        about ``sample_ms``, on CUDA in one graph. Same errors as a call.
        """
        call, _results = self._with_outputs(inputs, named)
        return self._open().time_launches(
            call.inputs, call.outputs, self._present_stream(), sample_ms, samples
        )

    def fill_activations(self, byte: int = 0xFF) -> None:
        """Overwrite the engine's activation memory and workspaces, with NaN by default, once no run is under
        way; answers must not change. For tests."""
        self._open().call("Fx2aitFillActivations", self._open().handle, byte)

    def twin(self, runtimes: int = 1) -> Engine:
        """Another engine of the same library, with weights and activation memory of its own."""
        return Engine(self.library_path, self.manifest, self.settings, self.source_directory, runtimes)

    def save(self, path: Path | str) -> Path:
        """Write the engine to one file; see :func:`fx2ait_core.runtime.artifact.save`."""
        from .artifact import save  # noqa: PLC0415  (it imports this module)

        return save(self, Path(path))

    def close(self) -> None:
        """Free the engine's memory once the runs under way have ended; later calls are errors."""
        self._container = None

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"The engine {self.name} cannot be pickled or copied: it holds loaded code. Save it with "
            "engine.save(path) and load that, or make another with engine.twin()."
        )

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

    def _prepare(self, inputs: Sequence[torch.Tensor], key: Key = ()) -> PreparedCall:
        """Check the inputs and lay out the C call's arguments, remembered under ``key`` if not empty."""
        container = self._open()
        self._ordered(tuple(inputs), {})
        for port, tensor in zip(self.inputs, inputs, strict=True):
            port.check(tensor, self.device)
        try:
            call = prepared_call(container, inputs, self.outputs, self.device)
        except RuntimeError as error:  # a tensor without memory, as function transforms and exporters make
            raise EngineInputError(f"{self.name} needs tensors that hold data: {error}") from error
        if call is None:
            raise EngineInputError(container.last_error())
        if key:
            self._calls.keep(key, call)
        return call

    def _with_outputs(
        self, inputs: tuple[torch.Tensor, ...], named: Mapping[str, torch.Tensor]
    ) -> tuple[PreparedCall, list[torch.Tensor]]:
        """A call of one's own, and its outputs, to be kept as long as it is used."""
        call = self._prepare(self._ordered(inputs, named))
        return call, call.new_outputs()

    def _present_stream(self) -> int | None:
        return None if self._stream is None else self._stream()

    def _refuse(self, container: Container, call: PreparedCall) -> None:
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


def _stream_reader(device: torch.device) -> Callable[[], int] | None:
    """A function that gives the current stream of ``device`` as an integer; None on the CPU."""
    if device.type != "cuda":
        return None
    raw = getattr(torch._C, "_cuda_getCurrentRawStream", None)  # a tenth of the time of current_stream()
    if raw is not None:
        return partial(raw, device.index)
    return lambda: torch.cuda.current_stream(device.index).cuda_stream


def _elsewhere(device: torch.device) -> Callable[[], bool] | None:
    """Whether another GPU than ``device`` is the current one, in which case its streams do not serve; None
    where that cannot be."""
    if device.type != "cuda" or torch.cuda.device_count() == 1:
        return None
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
