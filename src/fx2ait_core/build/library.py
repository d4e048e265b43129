"""Source trees to shared libraries: only what is new is compiled."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Protocol

from ..errors import BuildError
from ..settings import Settings
from ..target.target import Target
from .compile_cache import CompileCache, disk_errors
from .dependencies import Dependencies
from .diagnostics import build_error, is_full_disk
from .ninja_run import Failure, Unit, run_units
from .toolchain import Compiler, find_compiler, find_cxx, native_identity

_FORMAT = 1  # raise it when equal inputs no longer give equal objects
_ASSEMBLER = (".S", ".s")
_FAILED_TREES_KEPT = 8


class Compilable(Protocol):
    """What is needed of a backend; :class:`~fx2ait_core.target.backend.Backend` has it."""

    source_suffix: str

    def compile_flags(self, target: Target) -> list[str]: ...

    def link_flags(self, target: Target) -> list[str]: ...


@dataclass(frozen=True)
class Progress:
    """``unit`` is done, as number ``done`` of ``total``; ``stage`` is ``"compile"`` or ``"measure"``."""

    done: int
    total: int
    unit: str
    stage: str = "compile"


@dataclass(frozen=True)
class BuiltLibrary:
    """A shared library in the cache.

    :param key: hash of all that it depends on.
    :param compiled: sources compiled for it now.
    :param reused: sources whose objects were in the cache.
    :param sources: the tree's folder, with ``settings.keep_sources``.
    """

    path: Path
    key: str
    seconds: float
    compiled: int
    reused: int
    sources: Path | None = None


@dataclass(frozen=True)
class Recipe:
    """How sources become a library: compilers and flags, and an identity that changes with them."""

    compiler: Compiler
    assembler: Compiler
    compile_flags: tuple[str, ...]
    link_flags: tuple[str, ...]
    identity: str

    @classmethod
    def of(cls, backend: Compilable, target: Target, settings: Settings) -> Recipe:
        """Raises :class:`~fx2ait_core.errors.ToolchainError` when a compiler is missing."""
        compiler = find_compiler(backend.source_suffix, settings)
        assembler = compiler if backend.source_suffix != ".cu" else find_cxx(settings)
        flags = (*compiler.flags, *backend.compile_flags(target))
        link = (*compiler.flags, *compiler.link_flags, *backend.link_flags(target))
        parts = [_FORMAT, compiler.identity, flags, link, target.name, target.arch, sorted(target.features)]
        parts.append(native_identity(compiler, flags))
        return cls(compiler, assembler, flags, link, hashlib.sha256(json.dumps(parts).encode()).hexdigest())

    def compile(self, source: str) -> tuple[str, ...]:
        if source.endswith(_ASSEMBLER):
            return (str(self.assembler.path), "-fPIC", "-Iinclude", "-c", source)
        return (str(self.compiler.path), *self.compile_flags, *self._includes, "-c", source)

    def link(self, objects: Sequence[str]) -> tuple[str, ...]:
        return (str(self.compiler.path), "-shared", *objects, *self.link_flags)

    @property
    def _includes(self) -> tuple[str, ...]:
        return () if "-Iinclude" in self.compile_flags else ("-Iinclude",)


@dataclass
class _Job:
    """One tree on its way to a library. ``found`` are objects of the cache, by source."""

    tree: Mapping[str, bytes]
    recipe: Recipe
    found: dict[str, Path] = field(default_factory=dict)

    @cached_property
    def dependencies(self) -> Dependencies:
        return Dependencies(self.tree)

    @cached_property
    def sources(self) -> list[str]:
        return self.dependencies.compiled()

    @cached_property
    def key(self) -> str:
        return _hash("library", self.dependencies.tree_digest(), self.recipe.identity)

    @cached_property
    def object_keys(self) -> dict[str, str]:
        digest, identity = self.dependencies.digest, self.recipe.identity
        return {source: _hash("object", source, digest(source), identity) for source in self.sources}


def build(
    tree: Mapping[str, bytes],
    backend: Compilable,
    target: Target,
    settings: Settings,
    progress: Callable[[Progress], None] | None = None,
) -> BuiltLibrary:
    """Compile and link ``tree``, or take the library from the cache.

    :param tree: contents by relative path, e.g. a ``SourceTree``. Every compiled file
        (``.cpp``, ``.cu``, ``.S``, …) that no other file includes becomes an object; headers are found in
        its folder ``include``.
    :param progress: called after each compiler call.

    Raises :class:`~fx2ait_core.errors.ToolchainError` without a compiler, and
    :class:`~fx2ait_core.errors.BuildError` with the compiler's words, the exact command and the
    path of the source, or when the disk is full. The cache is intact after any failure.
    """
    built = build_all([tree], backend, target, settings, progress)[0]
    if isinstance(built, BuildError):
        raise built
    return built


def build_all(
    trees: Sequence[Mapping[str, bytes]],
    backend: Compilable,
    target: Target,
    settings: Settings,
    progress: Callable[[Progress], None] | None = None,
) -> list[BuiltLibrary | BuildError]:
    """As :func:`build` for many trees in one parallel run; what fails does not stop the others.

    A full disk or a missing compiler is raised; a compiler's error takes the library's place.
    """
    started = time.perf_counter()
    recipe = Recipe.of(backend, target, settings)
    cache = CompileCache.open(settings.cache_dir)
    jobs = [_Job(tree, recipe) for tree in trees]
    done: dict[str, BuiltLibrary | BuildError] = {}

    def look_up() -> list[_Job]:
        for job in jobs:
            if job.key not in done and (path := cache.find("libraries", job.key, ".so")):
                sources = _kept_sources(cache, job, settings)
                seconds = time.perf_counter() - started
                done[job.key] = BuiltLibrary(path, job.key, seconds, 0, len(job.sources), sources)
        return list({job.key: job for job in jobs if job.key not in done}.values())

    if missing := look_up():
        with _held(cache, _hash(*sorted(job.key for job in missing))):
            if missing := look_up():
                done |= _compile(missing, cache, settings, progress, started)
    return [done[job.key] for job in jobs]


def _compile(
    jobs: Sequence[_Job],
    cache: CompileCache,
    settings: Settings,
    progress: Callable[[Progress], None] | None,
    started: float,
) -> dict[str, BuiltLibrary | BuildError]:
    done: dict[str, BuiltLibrary | BuildError] = {}
    with cache.work_folder() as work:
        units: dict[str, Unit] = {}
        links: dict[str, Unit] = {}
        made_by: dict[str, str] = {}  # object file: its key
        with disk_errors(cache.folder):
            (work / "objects").mkdir()
            for number, job in enumerate(jobs):
                _write(job.tree, work / f"tree{number}")
                links[job.key] = _units_of(job, number, cache, units, made_by)

        def on_end(unit: Unit, ended: int, total: int) -> None:
            if unit.output in made_by and (work / unit.output).exists():
                cache.store("objects", made_by[unit.output], ".o", work / unit.output)
            if progress is not None:
                progress(Progress(ended, total, unit.description))

        with disk_errors(cache.folder):
            calls = [*units.values(), *links.values()]
            failures, finished = run_units(calls, work, settings, on_end, keep_going=len(jobs) > 1)
        for number, job in enumerate(jobs):
            library, folder = work / links[job.key].output, work / f"tree{number}"
            if library.exists():
                path = cache.store("libraries", job.key, ".so", library)
                kept = cache.keep("sources", job.key, folder) if settings.keep_sources else None
                seconds, reused = time.perf_counter() - started, len(job.found)
                done[job.key] = BuiltLibrary(path, job.key, seconds, len(job.sources) - reused, reused, kept)
            else:
                cache.prune("failed", _FAILED_TREES_KEPT - 1)
                kept = cache.keep("failed", job.key, folder)
                error = _error(links[job.key], failures, finished.output, kept, cache)
                if is_full_disk(str(error)):
                    raise error
                done[job.key] = error
    return done


def _units_of(
    job: _Job, number: int, cache: CompileCache, units: dict[str, Unit], made_by: dict[str, str]
) -> Unit:
    """Add to ``units`` and ``made_by`` the objects that ``job`` lacks; return the call that links it."""
    objects = []
    for source, key in job.object_keys.items():
        output = f"objects/{key[:40]}.o"
        if output not in units and (found := cache.find("objects", key, ".o")):
            job.found[source] = found
            objects.append(str(found))
            continue
        if output not in units:
            label = source if number == 0 else f"{source} ({number})"
            units[output] = Unit(label, f"tree{number}", job.recipe.compile(source), (), output)
            made_by[output] = key
        objects.append(output)
    words = job.recipe.link([name if name.startswith("/") else f"../{name}" for name in objects])
    label = "engine.so" if number == 0 else f"engine.so ({number})"
    made = tuple(name for name in objects if name in made_by)
    return Unit(label, f"tree{number}", words, made, f"engine{number}.so")


def _error(
    link: Unit, failures: Sequence[Failure], output: str, kept: Path, cache: CompileCache
) -> BuildError:
    mine = [f for f in failures if f.unit is link or f.unit.output in link.inputs]
    if not mine:  # ninja itself failed
        words = output.strip()[-2000:]
        return build_error(link.description, str(kept), "ninja", words, str(cache.folder))
    failure = mine[0]
    unit = failure.unit
    is_link = unit is link
    output_name = "engine.so" if is_link else PurePosixPath(unit.command[-1]).stem + ".o"
    source = kept if is_link else kept / unit.command[-1]
    command = f"cd {shlex.quote(str(kept))} && {unit.shell(output_name)}"
    return build_error(unit.description, str(source), command, failure.output, str(cache.folder))


def _kept_sources(cache: CompileCache, job: _Job, settings: Settings) -> Path | None:
    if not settings.keep_sources:
        return None
    kept = cache.folder / "sources" / job.key[:16]
    if not kept.is_dir():
        with cache.work_folder() as work, disk_errors(cache.folder):
            _write(job.tree, work / "tree")
            return cache.keep("sources", job.key, work / "tree")
    return kept


def _write(tree: Mapping[str, bytes], folder: Path) -> None:
    for name, contents in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)


@contextlib.contextmanager
def _held(cache: CompileCache, key: str) -> Iterator[None]:
    """Holds the lock for ``key`` where the file system has locks: they spare work, renames give safety."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, NotImplementedError):
            stack.enter_context(cache.lock(key))
        yield


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
