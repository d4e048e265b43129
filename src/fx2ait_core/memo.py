"""Compilations remembered whole: a captured program that was compiled before is not lowered again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .build.compile_cache import CompileCache
from .capture.program import CapturedProgram
from .capture.tensors import dim_of
from .errors import BuildError
from .partition.calls import origin_of
from .target.target import Target
from .tune.keys import package_digest

_FORMAT = 1
_KIND = "compilations"


@dataclass(frozen=True)
class Remembered:
    """A library of the compile cache and the manifest of its engine."""

    library: Path
    manifest: dict[str, Any]


class CompilationMemo:
    """From all that a compilation depends on to its library.

    :param cache: where libraries are; an entry whose library has gone is no entry.
    """

    def __init__(self, cache: CompileCache) -> None:
        self.cache = cache

    def find(self, key: str) -> Remembered | None:
        """The compilation recorded under ``key``, if its library is still there and intact."""
        path = self.cache.find(_KIND, key, ".json")
        if path is None:
            return None
        entry = json.loads(path.read_text(encoding="utf-8"))
        library = self.cache.find("libraries", entry["library"], ".so")
        return Remembered(library, entry["manifest"]) if library else None

    def record(self, key: str, library_key: str, manifest: Mapping[str, Any]) -> None:
        """Remember a compilation; a full disk is no reason to fail now that the engine is there."""
        try:
            with self.cache.work_folder() as folder:
                file = folder / "compilation.json"
                file.write_text(json.dumps({"library": library_key, "manifest": manifest}), encoding="utf-8")
                self.cache.store(_KIND, key, ".json", file)
        except BuildError:
            pass


def compilation_key(
    captured: CapturedProgram, target: Target, identity: str, packages: Iterable[str], options: object
) -> str:
    """Hash of the program with its weights, the target, the compilers, all code that takes part, and options.

    :param identity: of compilers and flags.
    :param packages: importable packages of the plugins in use; the core's is added.
    """
    total = hashlib.sha256(f"{_FORMAT}\0{captured.name}\0{captured.output_structure}".encode())
    for text in _program(captured):
        total.update(f"\0{text}".encode())
    for name, constant in captured.constants.items():
        total.update(f"\0{name}\0{constant.type}\0".encode())
        total.update(constant.array.tobytes())
    figures = sorted((name, str(value)) for name, value in target.properties.items())
    parts = [target.name, target.arch, target.device, sorted(target.features), figures, identity, options]
    parts += [(name, package_digest(name)) for name in sorted({*packages, "fx2ait_core"})]
    total.update(f"\0{parts!r}".encode())
    return total.hexdigest()


def _program(captured: CapturedProgram) -> Iterable[str]:
    yield repr((captured.input_names, sorted(captured.symbols.items()), captured.output_dtypes))
    for node in captured.graph.nodes:
        yield repr((node.op, node.name, str(node.target), node.args, node.kwargs, str(origin_of(node))))
        yield _described(node.meta.get("val"), captured.symbol_names)


def _described(value: Any, symbol_names: Mapping[str, str]) -> str:
    if isinstance(value, torch.Tensor):
        return f"{value.dtype}{[dim_of(size, symbol_names) for size in value.shape]}"
    if isinstance(value, list | tuple):
        return str([_described(item, symbol_names) for item in value])
    return str(dim_of(value, symbol_names)) if isinstance(value, int | torch.SymInt) else str(value)
