"""The manifest: what an engine is, for programs and people."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from ..ir.dims import Dim
from ..plan.plan import BucketPlan, Location, PackedConstant, Plan, PlannedKernel, Port
from .weights import Weights

FORMAT_VERSION = 1
_FIGURES = ("fp16_tflops", "fp32_tflops", "memory_gbps")
"""Properties of a target with which times are compared."""


def manifest(plan: Plan, weights: Weights, functions: Sequence[str]) -> dict[str, Any]:
    """The manifest as plain data, the same for equal plans.

    Dimensions are numbers, or expressions over the symbols as text. Bytes are in ``memory``, of
    the whole and per bucket.

    :param functions: each bucket's function in the model's source.
    """
    return {
        "format_version": FORMAT_VERSION,
        "name": plan.name,
        "precision": plan.precision,
        "target": {
            "name": plan.target.name,
            "arch": plan.target.arch,
            "device": plan.target.device,
            "features": sorted(plan.target.features),
            "figures": {
                name: value for name, value in sorted(plan.target.properties.items()) if name in _FIGURES
            },
        },
        "symbols": {name: {"min": bounds.min, "max": bounds.max} for name, bounds in plan.symbols},
        "inputs": [_port(port) for port in plan.inputs],
        "outputs": [_port(port) for port in plan.outputs],
        "plugins": dict(sorted(plan.plugins)),
        "memory": {
            "arena": plan.arena_bytes,
            "workspace": plan.workspace_bytes,
            "constants": plan.constant_bytes,
            "buckets": [
                {"sizes": dict(bucket.sizes), **dataclasses.asdict(bucket.memory)} for bucket in plan.buckets
            ],
        },
        "weights": {
            "file": "weights.safetensors",
            "bytes": len(weights.data),
            "sha256": weights.sha256,
            "constants": [_constant(constant, weights) for constant in plan.constants],
        },
        "plan": {
            "kernels": [_kernel(kernel) for kernel in plan.kernels],
            "buckets": [_bucket(bucket, name) for bucket, name in zip(plan.buckets, functions, strict=True)],
        },
    }


def to_json(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def _port(port: Port) -> dict[str, Any]:
    shape = [_size(dim) for dim in port.type.shape]
    return {
        "name": port.name,
        "shape": shape,
        "dtype": port.type.dtype.value,
        "layout": str(port.type.layout) if port.type.rank < 10 else list(port.type.layout.order),
    }


def _kernel(kernel: PlannedKernel) -> dict[str, Any]:
    # A cached choice was measured too: the manifest does not depend on the cache being warm.
    return {
        "name": kernel.name,
        "kernel": kernel.kernel,
        "distribution": kernel.distribution,
        "config": kernel.config,
        "choice": "heuristic" if kernel.choice == "heuristic" else "measured",
    }


def _constant(constant: PackedConstant, weights: Weights) -> dict[str, Any]:
    return {
        "name": constant.name,
        "dtype": constant.array.dtype.name,
        "shape": list(constant.array.shape),
        "bytes": constant.array.nbytes,
        "offset": constant.offset,
        "file_offset": weights.start + weights.offsets[constant.name],
    }


def _bucket(bucket: BucketPlan, function: str) -> dict[str, Any]:
    return {
        "sizes": dict(bucket.sizes),
        "function": function,
        "launches": [
            {
                "node": launch.node,
                "kernel": launch.kernel,
                "description": launch.description,
                "results": [_location(location) for location in launch.results],
                "operands": [_location(location) for location in launch.operands],
                "workspace": _location(launch.workspace) if launch.workspace else None,
                "work": {
                    "flops": _size(launch.work.flops),
                    "bytes": _size(launch.work.bytes),
                    "dtype": launch.work.dtype.value if launch.work.dtype else None,
                    "inputs": {str(index): _size(count) for index, count in launch.work.inputs},
                },
            }
            for launch in bucket.launches
        ],
    }


def _size(dim: Dim) -> int | str:
    """A number, or an expression over the symbols that ``evaluate_formula`` reads."""
    return dim if isinstance(dim, int) else str(dim)


def _location(location: Location) -> str:
    return f"{location.space}:{location.position}"
