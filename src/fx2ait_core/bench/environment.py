"""What a measurement was made on: card, driver, clocks, versions, commit."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .nvml import Clocks, card


@dataclass(frozen=True)
class Environment:
    """``card`` is the GPU's name, or the processor's; ``driver`` and ``clocks`` are a GPU's."""

    card: str
    driver: str | None
    clocks: Clocks | None
    threads: int
    versions: Mapping[str, str] = field(default_factory=dict)
    commit: str | None = None


def environment(device: torch.device, manifest: Mapping[str, Any] | None = None) -> Environment:
    """The surroundings of a measurement on ``device``, made with the plugins that ``manifest`` names."""
    versions = {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "fx2ait-core": distribution_version("fx2ait-core") or "unknown",
    }
    if torch.version.cuda:
        versions["cuda"] = torch.version.cuda
    if vision := distribution_version("torchvision"):
        versions["torchvision"] = vision
    for plugin, version in dict((manifest or {}).get("plugins", {})).items():
        versions[plugin] = version
    seen = None
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        seen = card(f"GPU-{properties.uuid}" if hasattr(properties, "uuid") else None)
        name = seen.name if seen else properties.name
    else:
        name = processor_name()
    return Environment(
        card=name,
        driver=seen.driver if seen else None,
        clocks=seen.clocks if seen else None,
        threads=torch.get_num_threads(),
        versions=versions,
        commit=commit(Path(__file__)),
    )


def processor_name() -> str:
    """The processor's name as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or sys.platform


def distribution_version(name: str) -> str | None:
    """The version of an installed distribution."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit(inside: Path) -> str | None:
    """The commit checked out around ``inside``, read from git's files; None outside a checkout."""
    for folder in inside.resolve().parents:
        git = folder / ".git"
        if git.exists():
            try:
                return _head(git)
            except OSError:
                return None
    return None


def _head(git: Path) -> str | None:
    if git.is_file():  # a linked work tree: "gitdir: PATH"
        git = (git.parent / git.read_text().partition(":")[2].strip()).resolve()
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref:"):
        return head
    name = head.partition(":")[2].strip()
    common = git / "commondir"
    roots = [git, (git / common.read_text().strip()).resolve()] if common.is_file() else [git]
    for root in roots:
        if (root / name).is_file():
            return (root / name).read_text().strip()
        packed = root / "packed-refs"
        for line in packed.read_text().splitlines() if packed.is_file() else []:
            if line.endswith(f" {name}"):
                return line.split()[0]
    return None
