"""The processor at hand, as Linux describes it."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


@dataclass(frozen=True)
class Processor:
    """``machine`` is e.g. ``x86_64``; ``features`` are Linux's names of instruction sets."""

    machine: str
    model: str
    features: frozenset[str]
    l1_bytes: int
    l2_bytes: int


def read_processor(cpuinfo: Path = _CPUINFO, caches: Path = _CACHES, machine: str | None = None) -> Processor:
    """The first processor listed; usual figures stand in for what the system does not tell."""
    machine = machine or platform.machine()
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip().lower(), value.strip())
    features = fields.get("flags") or fields.get("features") or ""
    levels = dict(_data_caches(caches))
    return Processor(
        machine,
        fields.get("model name") or machine,
        frozenset(features.split()),
        levels.get(1, 32 << 10),
        levels.get(2, 512 << 10),
    )


def _data_caches(folder: Path) -> Iterable[tuple[int, int]]:
    """Level and bytes of each cache that holds data."""
    for index in sorted(folder.glob("index*")):
        try:
            if (index / "type").read_text().strip() == "Instruction":
                continue
            size = re.fullmatch(r"(\d+)([KMG]?)", (index / "size").read_text().strip())
            if size:
                yield int((index / "level").read_text()), int(size[1]) * _UNITS[size[2]]
        except (OSError, ValueError):
            continue
