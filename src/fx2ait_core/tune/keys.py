"""What measured times and choices depend on, as keys of the tuning cache."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from ..extend.contributions import Kernel, KernelSource
from ..extend.problem import Problem
from .cache import MeasurementKey
from .offers import Device, Offer, Policy


def measurement_key(
    problem: Problem, offer: Offer, source: KernelSource | None, device: Device
) -> MeasurementKey:
    """The key of one candidate's time; ``source`` is what was emitted for it, if that worked."""
    return MeasurementKey(
        kernel=offer.kernel.name,
        config=repr(offer.candidate.config),
        problem=problem.digest,
        sizes=_sizes(problem),
        dtype=str(problem.result.dtype),
        device=device.name,
        compiler=device.compiler,
        source=_source_hash(offer.kernel, source) if source is not None else "",
    )


class ChoiceKeys:
    """Keys of choices. They change whenever a choice might: with any code that takes part, too.

    Unlike a measurement's, such a key needs no source to be emitted, which makes warm runs quick.
    The code is read once per object.
    """

    def __init__(self, device: Device, policy: Policy) -> None:
        self.device = device
        self.policy = policy
        self._packages: dict[str, str] = {}

    def key(self, problem: Problem, offers: Sequence[Offer]) -> str:
        entrants = [f"{o.kernel.name} {o.kernel.revision} {o.candidate!r}" for o in offers]
        modules = {getattr(o.kernel.emit, "__module__", None) or "" for o in offers}
        packages = sorted({module.partition(".")[0] for module in modules} | {"fx2ait_core"})
        parts = [problem.digest, _sizes(problem), self.device.name, self.device.compiler, repr(self.policy)]
        parts += [*entrants, *map(self._package, packages)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def _package(self, name: str) -> str:
        if name not in self._packages:
            self._packages[name] = package_digest(name)
        return self._packages[name]


def family_key(key: str, family: Sequence[str]) -> str:
    """The key of a choice that is made together with those of the problem's other sizes."""
    return hashlib.sha256("\0".join([key, *sorted(family)]).encode()).hexdigest()


def _sizes(problem: Problem) -> str:
    return ", ".join(f"{name}={size}" for name, size in problem.sizes)


def _source_hash(kernel: Kernel, source: KernelSource) -> str:
    total = hashlib.sha256(f"{kernel.revision}\0{source.text}".encode())
    for path in sorted(source.headers):
        total.update(f"\0{path}\0{source.headers[path]}".encode())
    return total.hexdigest()


@cache
def package_digest(name: str) -> str:
    """Hash of all files of an importable package; of its name where it has none."""
    total = hashlib.sha256(name.encode())
    try:
        spec = find_spec(name) if name else None
    except (ImportError, ValueError):
        spec = None
    for folder in sorted(spec.submodule_search_locations or () if spec else ()):
        for path in sorted(Path(folder).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                total.update(f"\0{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return total.hexdigest()
