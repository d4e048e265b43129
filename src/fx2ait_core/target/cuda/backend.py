"""The CUDA target: CUDA C++ for compute capability 8.0 and newer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import TargetError
from ...ir.dtypes import DType
from ..backend import Backend, header_texts
from ..target import Target
from .cards import CARDS, DEFAULT_RATES, RATES
from .driver import Device, NoDevice, first_device

if TYPE_CHECKING:
    from ...settings import Settings

_OLDEST = 80
_ARCH_SPECIFIC = 90  # from here on `a` gives the instructions of one architecture alone


class CudaBackend(Backend):
    """Engines for NVIDIA GPUs; the architecture is ``sm_80``, ``sm_86``, ``sm_89``, ``sm_90a``, …"""

    name = "cuda"
    source_suffix = ".cu"
    c_types: Mapping[DType, str] = {
        DType.float64: "double",
        DType.float32: "float",
        DType.float16: "__half",
        DType.bfloat16: "__nv_bfloat16",
        DType.int64: "int64_t",
        DType.int32: "int32_t",
        DType.bool: "bool",
    }
    device_class = "fx2ait::cuda::Device"
    device_header = "fx2ait/cuda/device.h"
    type_includes = ("<cuda_bf16.h>", "<cuda_fp16.h>", "<cuda_runtime.h>", '"fx2ait/external_tensor.h"')
    # Some estimates are off by a fifth, most of all on a card that they were not fitted to.
    measured_within = 1.35
    measured_at_most = 5

    def detect(self, arch: str | None, settings: Settings) -> Target:
        """The GPU at hand, or the card that stands for ``arch`` (see ``cards.py``).

        ``sm_90`` means ``sm_90a``. The GPU's own figures are used where its architecture is ``arch``.
        """
        wanted = _canonical(arch) if arch is not None else None
        try:
            device = first_device()
        except NoDevice as error:
            if wanted is None:
                raise TargetError(
                    f"No GPU to compile for: {error}; or name an architecture, e.g. --arch sm_90a."
                ) from None
            return self._target(wanted, _documented(wanted))
        if wanted is not None and wanted != _arch_of(device.capability):
            return self._target(wanted, _documented(wanted))
        if device.capability < _OLDEST:
            raise TargetError(
                f"{device.name} has compute capability {device.capability / 10:.1f}; 8.0 or newer is needed. "
                "Compile for the CPU with target='cpu'."
            )
        return self._target(_arch_of(device.capability), _measured(device))

    def available(self, settings: Settings) -> str | None:
        try:
            device = first_device()
        except NoDevice as error:
            return str(error)
        if device.capability < _OLDEST:
            return (
                f"{device.name} has compute capability {device.capability / 10:.1f}; 8.0 or newer is needed"
            )
        return None

    def runs_here(self, target: Target, settings: Settings) -> str | None:
        """None when the GPU at hand runs code for ``target``, else the reason why not.

        Code for an architecture with ``a`` runs on that alone; other code on any newer GPU too, which
        compiles the PTX beside the machine code when it is loaded.
        """
        reason = self.available(settings)
        if reason is not None:
            return reason
        capability, wanted = first_device().capability, _capability(target.arch)
        exact = target.arch.endswith("a")
        if capability == wanted or (not exact and capability > wanted):
            return None
        served = f"{wanted / 10:.1f}" + ("" if exact else " or newer")
        return f"this GPU has compute capability {capability / 10:.1f}; code for {target.arch} needs {served}"

    def headers(self) -> Mapping[str, str]:
        return header_texts(Path(__file__).parent / "include")

    def kernels(self) -> list[Any]:
        from .pointwise import KERNELS  # noqa: PLC0415  (kernels import the SDK, which imports this package)

        return list(KERNELS)

    def compile_flags(self, target: Target) -> list[str]:
        number = target.arch.removeprefix("sm_")
        code = (
            f"sm_{number}" if number.endswith("a") else f"[sm_{number},compute_{number}]"
        )  # PTX: for newer GPUs
        return [
            *["-std=c++17", "-O3", "-gencode", f"arch=compute_{number},code={code}"],
            *["-Werror", "all-warnings", "--expt-relaxed-constexpr"],
            # Unique symbols would keep the library from ever being unloaded.
            *["-Xcompiler", "-fPIC,-fvisibility=hidden,-fno-gnu-unique,-Wall"],
        ]

    def link_flags(self, target: Target) -> list[str]:
        # The runtime inside the engine must not be mistaken for the process's own.
        return ["-cudart", "static", "-Xlinker", "-Bsymbolic,--exclude-libs,ALL,--no-undefined"]

    def _target(self, arch: str, figures: Mapping[str, object]) -> Target:
        capability = _capability(arch)
        features = {"mma_sync", "cp_async"}
        if capability >= 90:
            features.add("tma")
        if arch == "sm_90a":
            features.add("wgmma")
        properties = {key: value for key, value in figures.items() if key != "device"}
        return Target(
            name=self.name,
            arch=arch,
            device=str(figures["device"]),
            compute_dtypes=(DType.float16, DType.bfloat16, DType.float32),
            features=frozenset(features),
            properties={
                "c_types": self.c_types,
                "launch_context": "cudaStream_t stream",
                "device_function": "__device__ __forceinline__",
                "element_loop": "#pragma unroll",  # before loops over arrays that must stay in registers
                "compute_capability": capability,
                **properties,
            },
        )


def _canonical(arch: str) -> str:
    match = re.fullmatch(r"sm_(\d{2,3})a?", arch)
    if match is None or int(match[1]) < _OLDEST:
        raise TargetError(
            f"cuda has no architecture {arch!r}; name one like {', '.join(CARDS)} "
            "(compute capability 8.0 or newer)."
        )
    return _arch_of(int(match[1]))


def _capability(arch: str) -> int:
    return int(arch.removeprefix("sm_").removesuffix("a"))


def _arch_of(capability: int) -> str:
    return f"sm_{capability}a" if capability >= _ARCH_SPECIFIC else f"sm_{capability}"


def _documented(arch: str) -> Mapping[str, object]:
    """The figures of the card that stands for ``arch``, or for the newest one before it."""
    older = [known for known in CARDS if _capability(known) <= _capability(arch)]
    return CARDS[max(older, key=_capability)]


def _measured(device: Device) -> Mapping[str, object]:
    """The GPU's own figures, the documented ones where the driver gives none."""
    given = device.attributes
    documented = _documented(_arch_of(device.capability))
    per_clock = RATES.get(device.capability, DEFAULT_RATES)
    clock = given["multiprocessors"] * given["clock_khz"] * 1e3 / 1e12
    found = {
        "multiprocessors": given["multiprocessors"],
        "shared_memory_per_block": given["shared_memory_per_block"],
        "shared_memory_per_multiprocessor": given["shared_memory_per_multiprocessor"],
        "l2_bytes": given["l2_bytes"],
        "memory_gbps": round(2 * given["memory_clock_khz"] * 1e3 * given["memory_bus_bits"] / 8 / 1e9, 1),
        "fp16_tflops": round(clock * per_clock[0], 1),
        "fp32_tflops": round(clock * per_clock[1], 1),
    }
    return {**documented, **{key: value for key, value in found.items() if value}, "device": device.name}
