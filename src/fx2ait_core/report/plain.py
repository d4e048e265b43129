"""Reports as plain data, for ``--json`` and for files."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """``value`` as JSON's types: dataclasses and mappings become objects, sequences arrays, paths and
    enumerations text; a number that JSON cannot hold (infinite, not a number) becomes text too."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (Path, BaseException)):
        return str(value)
    if hasattr(value, "item"):  # a NumPy scalar
        return plain(value.item())
    return str(value)


def to_json(value: Any) -> str:
    """``value`` as indented JSON."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False)


def environment_record(environment: Any) -> dict[str, Any]:
    """``card``, ``driver``, ``clocks``, ``threads``, ``versions`` and ``commit`` of a measurement."""
    told = plain(environment)
    return {key: told[key] for key in ("card", "driver", "clocks", "threads", "versions", "commit")}


def benchmark_record(report: Any, command: str) -> dict[str, Any]:
    """A :class:`~fx2ait_core.bench.benchmark.BenchmarkReport` as kept under ``benchmarks/results``."""
    return {
        "model": report.name,
        "target": report.target,
        "precision": report.precision,
        **environment_record(report.environment),
        "command": command,
        "rounds": report.rounds,
        "contention": report.contention,
        "notes": plain(report.notes),
        "rows": plain(report.rows),
    }
