"""An engine launch by launch: the time of each beside the least that it could take."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from ..errors import ArtifactError
from ..ir.formula import evaluate_formula
from ..runtime.library import LaunchTime
from .accuracy import converted
from .benchmark import accepted_batches, inputs_at, torch_threads
from .environment import Environment, environment, processor_name
from .roofline import Bound, Peaks, documented_peaks, measured_peaks
from .samples import dynamic_ranges
from .timing import TimedPath, interleaved
from .verify import SHORT_NAMES, engine_precision

PASSES = 3
"""Each launch is timed this often; the smallest of the medians counts, since noise only ever adds."""
LIMIT_S = 10.0
"""After so many seconds at a batch size, no further pass and no further round of the whole begins."""
_OLD = "the engine was made by a version that did not record the work of its launches; compile it again"


class Timeable(Protocol):
    """What is needed of an engine: its manifest, calls, and times of its launches."""

    @property
    def manifest(self) -> Mapping[str, Any]: ...
    def __call__(self, *inputs: torch.Tensor) -> Any: ...
    def time_launches(
        self, *inputs: torch.Tensor, sample_ms: float, samples: int
    ) -> tuple[int, list[LaunchTime]]: ...


@dataclass(frozen=True)
class Layer:
    """One launch.

    :param node: what it computes, in the user's model.
    :param kernel: the launcher's name; ``family`` and ``config`` are what it was made from.
    :param shapes: operator, operands and results.
    :param us: microseconds, repeated by itself.
    :param flops: operations, those of an epilogue left out.
    :param bytes: moved at least once: inputs, weights, operands of the epilogue, results.
    :param floor_us: the larger of ``flops`` and ``bytes`` over the machine's peak; ``bound`` says which.
    """

    node: str
    kernel: str
    family: str
    config: str
    shapes: str
    us: float
    flops: int
    bytes: int
    floor_us: float
    bound: Bound

    @property
    def share(self) -> float:
        """Of the floor in the time: 1 is as fast as can be."""
        return self.floor_us / self.us if self.us > 0 else 0.0


@dataclass(frozen=True)
class LayerTable:
    """All launches at one batch size; ``whole_us`` is the time of a run, on CUDA the replay of its graph."""

    batch: int
    whole_us: float
    layers: tuple[Layer, ...]

    @property
    def floor_us(self) -> float:
        """Sum of the launches' floors."""
        return sum(layer.floor_us for layer in self.layers)

    @property
    def sum_us(self) -> float:
        """Sum of the launches' times. Larger than the whole where launches overlap in a run, smaller where
        they wait for each other."""
        return sum(layer.us for layer in self.layers)

    @property
    def share(self) -> float:
        """Of the network's roofline: the sum of floors over the time of the whole."""
        return self.floor_us / self.whole_us if self.whole_us > 0 else 0.0


@dataclass(frozen=True)
class LayerReport:
    """The layers at each batch size, and the peaks that they are compared with."""

    name: str
    target: str
    precision: str
    peaks: Peaks
    environment: Environment
    tables: tuple[LayerTable, ...]
    notes: tuple[str, ...] = ()


def layers(
    engine: Timeable,
    batches: Sequence[int] | None = None,
    peaks: Peaks | None = None,
    *,
    sample_ms: float = 2.0,
    samples: int = 5,
    rounds: int = 10,
    limit_s: float = LIMIT_S,
    threads: int | None = None,
    progress: Any = None,
) -> LayerReport:
    """Time every launch of ``engine``, by itself and repeated, and the whole, at each batch size.

    :param batches: by default the smallest size that the engine takes.
    :param peaks: by default those documented of the engine's target, where it is the machine at hand,
        else measured here.
    :param sample_ms: each sample repeats a launch for about so long, without gaps.
    :param samples: medians are taken of so many.
    :param rounds: medians of the whole are taken of so many.
    :param limit_s: at each batch size, a pass over the launches, or a round of the whole, begins only within
        so many seconds of each; one pass and ``FEWEST_ROUNDS`` rounds are always made.
    :param threads: of PyTorch, on cpu, where it measures the peaks; by default those that it has now.

    Raises :class:`~fx2ait_core.errors.EngineInputError` for a batch outside the engine's range, and
    :class:`~fx2ait_core.errors.ArtifactError` for an engine whose manifest lacks the figures.
    """
    manifest = engine.manifest
    device = torch.device(manifest["target"]["name"])
    batches = accepted_batches(manifest, batches)
    precision = engine_precision(manifest)
    if any("work" not in launch for bucket in manifest["plan"]["buckets"] for launch in bucket["launches"]):
        raise ArtifactError(f"{manifest['name']}: {_OLD}.")
    if progress:
        progress.stage("layers")
    peaks = peaks or peaks_of(manifest, threads)
    tables = []
    for done, batch in enumerate(batches):
        if progress:
            progress.units(done, len(batches), f"batch {batch}")
        given = converted(inputs_at(manifest, batch), precision, device)
        bucket, times = _launch_times(engine, given, sample_ms, samples, limit_s)
        launches = manifest["plan"]["buckets"][bucket]["launches"]
        path = TimedPath(lambda given=given: engine(*given))  # type: ignore[misc]
        whole = interleaved({"": path}, device, rounds, limit_s=limit_s)[""]
        tables.append(
            LayerTable(
                batch, whole.ms_median * 1e3, described_layers(manifest, launches, times, batch, given, peaks)
            )
        )
    if progress:
        progress.units(len(batches), len(batches), "done")
    return LayerReport(
        manifest["name"],
        manifest["target"]["name"],
        SHORT_NAMES[precision],
        peaks,
        environment(device, manifest),  # here, where clocks are the measured ones
        tuple(tables),
        _notes(manifest, peaks),
    )


def peaks_of(manifest: Mapping[str, Any], threads: int | None = None) -> Peaks:
    """The documented peaks where the engine was compiled for the card at hand, else measured ones."""
    on_gpu = manifest["target"]["name"] == "cuda"
    card = torch.cuda.get_device_name() if on_gpu else processor_name()
    return documented_peaks(manifest["target"], card) or measured_peaks_of(manifest, threads)


def measured_peaks_of(manifest: Mapping[str, Any], threads: int | None = None) -> Peaks:
    """What PyTorch reaches here in the dtypes of an engine.

    :param threads: of PyTorch, on cpu; by default those that it has now.
    """
    dtypes = tuple(dict.fromkeys((engine_precision(manifest), torch.float32)))
    with torch_threads(threads):
        return measured_peaks(torch.device(manifest["target"]["name"]), dtypes)


def described_layers(
    manifest: Mapping[str, Any],
    launches: Sequence[Mapping[str, Any]],
    times: Sequence[float],
    batch: int,
    given: Sequence[torch.Tensor],
    peaks: Peaks,
) -> tuple[Layer, ...]:
    """Each launch of a bucket with its time in microseconds and its floor for these inputs.

    Raises :class:`~fx2ait_core.errors.ArtifactError` for a formula in the manifest that cannot be read.
    """
    kernels = {kernel["name"]: kernel for kernel in manifest["plan"]["kernels"]}
    symbol = manifest["inputs"][0]["shape"][0] if manifest["inputs"][0]["shape"] else 1
    sizes = {name: batch if name == symbol else low for name, (low, _) in dynamic_ranges(manifest).items()}
    found = []
    for launch, us in zip(launches, times, strict=True):
        work = launch["work"]
        try:
            flops, moved = (evaluate_formula(work[key], sizes) for key in ("flops", "bytes"))
            for index, count in work["inputs"].items():
                declared = getattr(torch, manifest["inputs"][int(index)]["dtype"])
                wider = given[int(index)].dtype.itemsize - declared.itemsize
                moved += wider * evaluate_formula(count, sizes)
        except ValueError as error:
            raise ArtifactError(f"{manifest['name']}, launch of {launch['kernel']}: {error}.") from error
        floor, bound = peaks.floor(flops, moved, work["dtype"])
        kernel = kernels[launch["kernel"]]
        found.append(
            Layer(
                node=launch["node"],
                kernel=kernel["name"],
                family=kernel["kernel"],
                config=kernel["config"],
                shapes=_at(launch["description"], sizes),
                us=us,
                flops=flops,
                bytes=moved,
                floor_us=floor,
                bound=bound,
            )
        )
    return tuple(found)


def _launch_times(
    engine: Timeable, given: Sequence[torch.Tensor], sample_ms: float, samples: int, limit_s: float
) -> tuple[int, list[float]]:
    """The bucket, and microseconds of each launch."""
    bucket = 0
    passes: list[list[float]] = []
    began = time.perf_counter()
    while not passes or (len(passes) < PASSES and time.perf_counter() - began <= limit_s):
        bucket, times = engine.time_launches(*given, sample_ms=sample_ms, samples=samples)
        passes.append([launch.milliseconds * 1e3 for launch in times])
    return bucket, [min(column) for column in zip(*passes, strict=True)]


def _at(description: str, sizes: Mapping[str, int]) -> str:
    """``description`` with numbers for dynamic symbols."""
    for name, size in sizes.items():
        description = description.replace(f"[{name},", f"[{size},").replace(f"[{name}]", f"[{size}]")
    return description


def _notes(manifest: Mapping[str, Any], peaks: Peaks) -> tuple[str, ...]:
    target = manifest["target"]
    if peaks.source == "documented":
        return ()
    if target.get("figures", {}).get("memory_gbps"):
        reason = (
            f"the engine was compiled for {target['device'] or target['arch']}, which is not this machine"
        )
    else:
        reason = f"the target {target['name']} states no peaks"
    return (f"peaks were measured here with PyTorch: {reason}",)
