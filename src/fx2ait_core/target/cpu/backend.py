"""The CPU target: C++17 with vector code and threads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import TargetError
from ...ir.dtypes import DType
from ..backend import Backend, header_texts
from ..target import Target
from .processor import Processor, read_processor

if TYPE_CHECKING:
    from ...settings import Settings

# Instruction sets of the x86-64 levels, by Linux's names, beyond those of the level before.
_X86_LEVELS = {
    "x86-64": (),
    "x86-64-v2": ("sse3", "ssse3", "sse4_1", "sse4_2", "popcnt"),
    "x86-64-v3": ("avx", "avx2", "fma", "f16c", "bmi1", "bmi2"),
    "x86-64-v4": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
}
_LINUX_NAMES = {"sse3": "pni"}
_ARM = "armv8-a"


class CpuBackend(Backend):
    """Engines for the processor at hand; the architecture is what ``g++ -march`` takes.

    Detection settles on an x86-64 level (``x86-64-v4`` for AVX-512), so that an engine runs on
    every machine of the level; ``native`` uses everything that this machine has.
    """

    name = "cpu"
    source_suffix = ".cpp"
    c_types: Mapping[DType, str] = {
        DType.float64: "double",
        DType.float32: "float",
        DType.float16: "fx2ait::Half",
        DType.bfloat16: "fx2ait::BFloat16",
        DType.int64: "int64_t",
        DType.int32: "int32_t",
        DType.bool: "bool",
    }
    device_class = "fx2ait::cpu::Device"
    device_header = "fx2ait/cpu/device.h"
    type_includes = ('"fx2ait/cpu/thread_pool.h"', '"fx2ait/cpu/vector.h"', '"fx2ait/external_tensor.h"')

    def detect(self, arch: str | None, settings: Settings) -> Target:
        """``arch``: ``native``, ``x86-64`` to ``x86-64-v4``, ``armv8-a``; None: the best level here."""
        processor = read_processor()
        arch = arch or _best_level(processor)
        features = _features(arch, processor)
        vector_bytes = 64 if "avx512f" in features else 32 if "avx2" in features else 16
        return Target(
            name=self.name,
            arch=arch,
            device=processor.model,
            compute_dtypes=(DType.float32,),
            features=features,
            properties={
                "c_types": self.c_types,
                "launch_context": "fx2ait::ThreadPool& pool",
                "device_function": "inline",
                "element_loop": "#pragma GCC ivdep",  # before loops whose turns are independent: vectorize
                "vector_bytes": vector_bytes,
                "threads": settings.threads,
                "l1_bytes": processor.l1_bytes,
                "l2_bytes": processor.l2_bytes,
            },
        )

    def available(self, settings: Settings) -> str | None:
        return None

    def runs_here(self, target: Target, settings: Settings) -> str | None:
        """None when code for ``target`` runs on this machine, else what is missing."""
        arch = target.arch
        processor = read_processor()
        if arch == "native":
            return None
        missing = sorted(name for name in _level_features(arch) if not _has(processor, name))
        if arch in _X86_LEVELS and processor.machine != "x86_64":
            return f"this machine is {processor.machine}, not x86_64"
        if arch == _ARM and processor.machine != "aarch64":
            return f"this machine is {processor.machine}, not aarch64"
        return f"this processor lacks {', '.join(missing)}" if missing else None

    def headers(self) -> Mapping[str, str]:
        return header_texts(Path(__file__).parent / "include")

    def kernels(self) -> list[Any]:
        from .pointwise import KERNELS  # noqa: PLC0415  (kernels import the SDK, which imports this package)

        return list(KERNELS)

    def compile_flags(self, target: Target) -> list[str]:
        flags = ["-std=c++17", "-O3", f"-march={target.arch}"]
        if target.arch != "native":
            flags.append("-mtune=native")
        if target.has("avx512f"):
            flags.append("-mprefer-vector-width=512")
        flags += ["-fPIC", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
        flags.append("-fno-gnu-unique")  # or the library could never be unloaded
        # Launchers of all kernels have the same form of signature; few need all of it.
        return [*flags, "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-pthread"]

    def link_flags(self, target: Target) -> list[str]:
        # Two engines in a process share no function, not even one of the C++ library's templates.
        return ["-pthread", "-Wl,-Bsymbolic,--no-undefined"]


def _has(processor: Processor, feature: str) -> bool:
    return _LINUX_NAMES.get(feature, feature) in processor.features


def _level_features(arch: str) -> frozenset[str]:
    """Instruction sets that ``arch`` promises; none for what is no x86-64 level."""
    names = list(_X86_LEVELS)
    if arch not in names:
        return frozenset()
    levels = names[: names.index(arch) + 1]
    return frozenset(feature for level in levels for feature in _X86_LEVELS[level])


def _best_level(processor: Processor) -> str:
    if processor.machine == "aarch64":
        return _ARM
    if processor.machine != "x86_64":
        return "native"
    best = "x86-64"
    for level, features in _X86_LEVELS.items():
        if not all(_has(processor, feature) for feature in features):
            break
        best = level
    return best


def _features(arch: str, processor: Processor) -> frozenset[str]:
    if arch == "native":
        return frozenset(processor.features)
    if arch == _ARM:
        return frozenset({"neon"})
    if arch in _X86_LEVELS:
        return _level_features(arch)
    accepted = ", ".join(["native", *_X86_LEVELS, _ARM])
    raise TargetError(f"cpu has no architecture {arch!r}; accepted are {accepted}.")
