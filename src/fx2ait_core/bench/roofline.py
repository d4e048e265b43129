"""The roofline: the least time that work can take on a machine with given peaks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from .timing import TimedPath, interleaved

Bound = Literal["memory", "arithmetic"]
_GIGA, _TERA = 1e9, 1e12
_MATRIX_SIZE = {"cuda": 8192, "cpu": 1024}
_COPY_BYTES = {"cuda": 1 << 30, "cpu": 1 << 28}
_ROUNDS = 5
_DOCUMENTED = {torch.float16: "fp16_tflops", torch.bfloat16: "fp16_tflops", torch.float32: "fp32_tflops"}


@dataclass(frozen=True)
class Peaks:
    """What a machine can do at most.

    :param tflops: 1e12 operations per second, by dtype; arithmetic in other dtypes is left out of floors.
    :param memory_gbps: 1e9 bytes per second, read and written together.
    :param source: ``documented`` (figures of the target) or ``measured`` (a matrix product and a copy by
        PyTorch, here).
    """

    tflops: Mapping[str, float]
    memory_gbps: float
    source: Literal["documented", "measured"]

    def floor(self, flops: int, moved: int, dtype: str | None) -> tuple[float, Bound]:
        """The least microseconds, and what they are spent on."""
        memory = moved / (self.memory_gbps * _GIGA) * 1e6
        peak = self.tflops.get(dtype or "")
        arithmetic = flops / (peak * _TERA) * 1e6 if peak else 0.0
        return (arithmetic, "arithmetic") if arithmetic > memory else (memory, "memory")


def documented_peaks(target: Mapping[str, Any], card: str) -> Peaks | None:
    """The figures that an engine's manifest gives of its ``target``; None where it gives none, or was
    compiled for another card than ``card``."""
    figures = target.get("figures", {})
    if target.get("device") != card or not figures.get("memory_gbps"):
        return None
    tflops = {_name(dtype): float(figures[key]) for dtype, key in _DOCUMENTED.items() if figures.get(key)}
    return Peaks(tflops, float(figures["memory_gbps"]), "documented")


def measured_peaks(device: torch.device, dtypes: tuple[torch.dtype, ...]) -> Peaks:
    """What PyTorch reaches on ``device``: a product of large square matrices in each of ``dtypes``, and a
    copy that no cache holds, counted as read and written. Takes about a second and, on a GPU, 2 GiB."""
    size, copied = _MATRIX_SIZE[device.type], _COPY_BYTES[device.type]
    tflops = {
        _name(dtype): 2 * size**3 / (_product_ms(size, dtype, device) * 1e-3) / _TERA for dtype in dtypes
    }
    return Peaks(tflops, 2 * copied / (_copy_ms(copied, device) * 1e-3) / _GIGA, "measured")


def _product_ms(size: int, dtype: torch.dtype, device: torch.device) -> float:
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    return _fastest(lambda: torch.mm(left, right, out=out), device)


def _copy_ms(count: int, device: torch.device) -> float:
    source = torch.ones(count // 4, device=device)
    copy = torch.empty_like(source)
    return _fastest(lambda: copy.copy_(source), device)


def _fastest(call: Callable[[], object], device: torch.device) -> float:
    """Milliseconds of the fastest round."""
    return interleaved({"": TimedPath(call)}, device, _ROUNDS)[""].ms_min


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
