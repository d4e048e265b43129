"""Figures of GPUs: what NVIDIA documents of one card per architecture, and rates per multiprocessor."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

KIB = 1 << 10
MIB = 1 << 20


def _card(
    device: str,
    multiprocessors: int,
    shared_kib: int,
    l2_mib: int,
    memory_gbps: float,
    fp16_tflops: float,
    fp32_tflops: float,
) -> Mapping[str, object]:
    return MappingProxyType(
        {
            "device": device,
            "multiprocessors": multiprocessors,
            "shared_memory_per_block": (shared_kib - 1) * KIB,  # the driver keeps 1 KiB of each block
            "shared_memory_per_multiprocessor": shared_kib * KIB,
            "l2_bytes": l2_mib * MIB,
            "memory_gbps": memory_gbps,
            "fp16_tflops": fp16_tflops,
            "fp32_tflops": fp32_tflops,
        }
    )


# The card that an architecture stands for when none is at hand; fp16 means dense, fp32 accumulation.
CARDS: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        "sm_80": _card("NVIDIA A100-SXM4-80GB", 108, 164, 40, 2039, 312, 19.5),
        "sm_86": _card("NVIDIA A10", 72, 100, 6, 600, 125, 31.2),
        "sm_89": _card("NVIDIA L40S", 142, 100, 96, 864, 362, 91.6),
        "sm_90a": _card("NVIDIA H100 80GB HBM3", 132, 228, 50, 3350, 989, 66.9),
        "sm_100a": _card("NVIDIA B200", 148, 228, 126, 8000, 2250, 80),
        "sm_120a": _card("NVIDIA GeForce RTX 5090", 170, 100, 96, 1792, 209, 104.8),
    }
)

# Operations per clock and multiprocessor: fp16 on tensor cores with fp32 accumulation, fp32.
RATES: Mapping[int, tuple[int, int]] = MappingProxyType(
    {80: (2048, 128), 86: (1024, 256), 87: (1024, 256), 89: (1024, 256), 90: (4096, 256), 100: (8192, 256)}
)
DEFAULT_RATES = (1024, 256)
