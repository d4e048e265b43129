"""Saved engines: one file with library, weights, manifest and, where kept, the sources."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from ..build.compile_cache import CompileCache, disk_errors
from ..errors import ArtifactError, Fx2aitError
from ..settings import Settings
from ..target.target import Target
from .container_file import read_manifest, read_member, unwritable, write_sealed
from .engine import Engine
from .weights import embedded_weights

LIBRARY = "library.so"
SOURCES = "sources/"

Detect = Callable[[str, str | None], Target]


class Saveable(Protocol):
    """What a file needs of an engine; a library for another machine has it too."""

    @property
    def library_path(self) -> Path: ...
    @property
    def manifest(self) -> Mapping[str, Any]: ...
    @property
    def source_directory(self) -> Path | None: ...


def save(engine: Saveable, path: Path) -> Path:
    """Write ``engine`` to ``path``, whole or not at all, and return the path.

    The weights lie inside the library as a safetensors image; the manifest gives its offset and
    size, so that ``weights(path)`` and other programs find it. The source tree is included where
    the engine has one.

    Raises :class:`~fx2ait_core.errors.ArtifactError` when the file cannot be written.
    """
    members: dict[str, bytes | Path] = {LIBRARY: engine.library_path}
    place: dict[str, Any] | None = embedded_weights(engine.library_path)
    sources = engine.source_directory
    if sources is not None and sources.is_dir():
        for file in sorted(path for path in sources.rglob("*") if path.is_file()):
            name = file.relative_to(sources).as_posix()
            if place and file.suffix == ".safetensors" and file.stat().st_size == place["bytes"]:
                place["source"] = name  # not stored twice
            else:
                members[SOURCES + name] = file
    manifest = {
        "engine": dict(engine.manifest),
        "fx2ait": f"fx2ait-core {_core_version()}",
        "host": {"machine": platform.machine(), "system": sys.platform},
        "weights": place,
    }
    write_sealed(path, manifest, members)
    return path


def inspect(path: Path) -> dict[str, Any]:
    """The manifest of an engine file: ``engine``, ``host``, ``members``, ``weights``; loads nothing.

    Raises :class:`~fx2ait_core.errors.ArtifactError` when the file is damaged or of a newer format.
    """
    return read_manifest(path)


def load(path: Path, settings: Settings, detect: Detect, runtimes: int = 1) -> Engine:
    """The engine in ``path``, ready to be called.

    Everything is checked before any code of the file is loaded: the seal over all bytes, the
    format, host and device, and the library's own sha256.

    :param detect: ``detect(name, arch)`` gives this machine as a target (``backend.detect(arch,
        settings)``); ``arch`` is None, or ``"native"`` for a file that needs all that its maker had.

    Raises :class:`~fx2ait_core.errors.ArtifactError` with the reason.
    """
    manifest = read_manifest(path)
    engine = manifest.get("engine")
    if not isinstance(engine, dict) or not {"name", "inputs", "outputs", "target"} <= engine.keys():
        raise ArtifactError(f"{path}: the manifest does not describe an engine.")
    _check_host(path, manifest.get("host", {}))
    check_target(path, engine["target"], detect)
    listed = manifest["members"]
    key = str(listed.get(LIBRARY, {}).get("sha256", ""))
    cache = CompileCache.open(settings.cache_dir)
    library = cache.find("engines", key, ".so") if key else None
    if library is None:
        data = read_member(path, LIBRARY, listed)
        with cache.work_folder() as folder, disk_errors(cache.folder):
            extracted = folder / LIBRARY
            extracted.write_bytes(data)
            library = cache.store("engines", key, ".so", extracted)
    return Engine(library, engine, settings, runtimes=runtimes)


def extract_sources(path: Path, folder: Path) -> int:
    """Write the sources kept in an engine file below ``folder``; returns how many files there were.

    Raises :class:`~fx2ait_core.errors.ArtifactError` when it is damaged or ``folder`` cannot be written.
    """
    manifest = read_manifest(path)
    listed = manifest["members"]
    contents = {
        name.removeprefix(SOURCES): read_member(path, name, listed)
        for name in sorted(listed)
        if name.startswith(SOURCES)
    }
    if contents and (source := (manifest.get("weights") or {}).get("source")):
        contents[source] = weights(path)
    for name, data in contents.items():
        destination = (folder / name).resolve()
        if not destination.is_relative_to(folder.resolve()):
            raise ArtifactError(f"{path}: the member {name} would be written outside {folder}.")
        try:
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.write_bytes(data)
        except OSError as error:
            raise unwritable(destination, error) from error
    return len(contents)


def weights(path: Path) -> bytes:
    """The safetensors image of the packed weights in an engine file; empty when it has none."""
    manifest = read_manifest(path)
    place = manifest.get("weights")
    if not place:
        return b""
    library = read_member(path, LIBRARY, manifest["members"])
    return library[place["offset"] : place["offset"] + place["bytes"]]


def check_target(path: Path, wanted: Mapping[str, Any], detect: Detect) -> None:
    """Whether this machine runs code for the target that a manifest describes.

    Raises :class:`~fx2ait_core.errors.ArtifactError` that names what is missing.
    """
    try:
        here = detect(str(wanted["name"]), "native" if wanted.get("arch") == "native" else None)
    except Fx2aitError as error:
        raise ArtifactError(
            f"{path} is made for {wanted['name']} {wanted.get('arch', '')}, which cannot run here: {error}"
        ) from error
    arch = str(wanted.get("arch", ""))
    missing = sorted(set(wanted.get("features", ())) - here.features)
    if missing:
        raise ArtifactError(
            f"{path} is made for {wanted['name']} {arch}; this machine ({here.device or here.arch}) lacks "
            f"{', '.join(missing)}. Compile the model here, or for {here.arch}."
        )
    if arch != here.arch and not _runs_on(wanted, here):
        raise ArtifactError(
            f"{path} is made for {wanted['name']} {arch}; this machine ({here.device or here.name}) is "
            f"{here.arch}. Compile the model for {here.arch}."
        )


def _runs_on(wanted: Mapping[str, Any], here: Target) -> bool:
    """Whether code for another architecture of the same target runs here.

    GPU code runs on later versions too, by the PTX beside it, unless it is for one version only (``sm_90a``);
    CPU code runs where all its features are, which was checked.
    """
    capability = here.properties.get("compute_capability")
    if capability is None:
        return True
    digits = str(wanted.get("arch", "")).removeprefix("sm_")
    if not digits.isdecimal():
        return False
    return int(digits) <= int(capability)


def _check_host(path: Path, host: Mapping[str, Any]) -> None:
    machine, system = host.get("machine"), host.get("system")
    if machine != platform.machine() or system != sys.platform:
        raise ArtifactError(
            f"{path} is made for {system} on {machine}; this is {sys.platform} on {platform.machine()}. "
            "Compile the model here."
        )


def _core_version() -> str:
    try:
        return version("fx2ait-core")
    except PackageNotFoundError:
        return "unknown"
