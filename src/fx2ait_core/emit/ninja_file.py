"""``build.ninja``: compiling a source tree by hand."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import PurePosixPath

from ..target.backend import Backend
from ..target.target import Target


def ninja_file(library: str, sources: Iterable[str], backend: Backend, target: Target) -> str:
    """Text that builds ``library`` from ``sources`` (relative paths), given ``ninja`` in the tree.

    The compilers and flags are variables at the top.
    """
    cuda = backend.source_suffix == ".cu"
    compiler = "nvcc" if cuda else "cxx"
    depfile = "-MD -MF $out.d" if cuda else "-MMD -MF $out.d"
    lines = [
        "# `ninja` in this folder builds " + library + ".",
        "ninja_required_version = 1.5",
        "cxx = g++",
        *(["nvcc = nvcc"] if cuda else []),
        f"flags = {_words(backend.compile_flags(target))}",
        f"link_flags = {_words(backend.link_flags(target))}",
        "",
        "rule compile",
        f"  command = ${compiler} $flags -Iinclude {depfile} -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
        "  description = $in",
        "",
        "rule embed",
        "  command = $cxx -fPIC -c $in -o $out",
        "  description = $in",
        "",
        "rule link",
        f"  command = ${compiler} -shared $in $link_flags -o $out",
        "  description = $out",
        "",
    ]
    objects = []
    for source in sorted(sources):
        made = f"build/{PurePosixPath(source).with_suffix('.o')}"
        objects.append(made)
        embeds = source.endswith(".S")
        needs = " | weights.safetensors" if embeds else ""
        lines.append(f"build {_path(made)}: {'embed' if embeds else 'compile'} {_path(source)}{needs}")
    lines += ["", f"build {_path(library)}: link $"]
    lines += [f"    {_path(made)}{' $' if made != objects[-1] else ''}" for made in objects]
    lines += ["", f"default {_path(library)}", ""]
    return "\n".join(lines)


def _words(flags: list[str]) -> str:
    return shlex.join(flags).replace("$", "$$")


def _path(path: str) -> str:
    return path.replace("$", "$$").replace(" ", "$ ").replace(":", "$:")
