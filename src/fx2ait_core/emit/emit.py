"""From a plan to source files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path

from ..errors import PlanError
from ..plan.plan import Plan, PlannedKernel
from ..target.backend import Backend, header_texts
from .identifiers import Identifiers, one_line
from .kernel_source import declarations, kernel_file
from .manifest import manifest, to_json
from .model_source import bucket_functions, check_plan, model_source
from .ninja_file import ninja_file
from .source_tree import SourceTree
from .templates import Templates
from .units import Member, grouped, unit_files
from .weights import embedding, pack


def emit(plan: Plan, backend: Backend) -> SourceTree:
    """The source tree of ``plan``: kernels, the model, headers, weights, manifest, ``build.ninja``.

    Equal plans give equal bytes. Raises :class:`~fx2ait_core.errors.PlanError` that lists what the
    plan lacks.
    """
    check_plan(plan)
    templates = Templates("fx2ait_core.emit", "templates")
    weights = pack(plan.constants)
    suffix = backend.source_suffix
    texts = {f"kernels/{kernel.name}{suffix}": kernel_file(kernel, plan.plugins) for kernel in plan.kernels}
    units, shared = _units(plan.kernels, texts, suffix)
    texts |= units
    texts |= {f"runtime/{name}": text for name, text in runtime_sources().items()}
    texts[f"model{suffix}"] = model_source(plan, backend, weights, templates)
    texts["constants.S"] = embedding(weights, "weights.safetensors")
    library = f"{library_name(plan.name)}.so"
    sources = [path for path in texts if path.endswith((suffix, ".cpp", ".S")) and path not in shared]
    texts["build.ninja"] = ninja_file(library, sources, backend, plan.target)
    texts["kernels.h"] = declarations(plan, templates, backend.type_includes)
    texts["manifest.json"] = to_json(manifest(plan, weights, bucket_functions(plan)))
    texts["README.txt"] = templates.render(
        "README.txt.jinja",
        name=one_line(plan.name),
        target=str(plan.target),
        precision=plan.precision,
        library=library,
        suffix=suffix,
        cuda=suffix == ".cu",
    )
    texts |= {f"include/{path}": text for path, text in _headers(plan, backend).items()}
    return SourceTree({**{p: t.encode() for p, t in texts.items()}, "weights.safetensors": weights.data})


def _units(
    kernels: Sequence[PlannedKernel], files: Mapping[str, str], suffix: str
) -> tuple[dict[str, str], set[str]]:
    """Files of units by path, and the paths of the kernels in them; what is left is compiled alone."""
    paths, names = list(files), Identifiers()
    members = [
        Member(kernel.kernel, text, kernel.source.effort)
        for kernel, text in zip(kernels, files.values(), strict=True)
    ]
    units: dict[str, str] = {}
    shared: set[str] = set()
    for group in grouped(members):
        if len(group) > 1:
            texts = {paths[index]: files[paths[index]] for index in group}
            family = kernels[group[0]].kernel
            units |= unit_files(f"units/{names(family)}{suffix}", texts, family)
            shared.update(texts)
    return units, shared


def library_name(engine: str) -> str:
    """A file name for an engine of any name."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", engine).lstrip(".-") or "engine"


@cache
def common_headers() -> dict[str, str]:
    """Headers that engines of every target include, by include path."""
    return header_texts(Path(str(files(__package__))) / "include")


@cache
def runtime_sources() -> dict[str, str]:
    """Sources of the C ABI by file name."""
    folder = Path(str(files(__package__))) / "sources"
    found = sorted(path for path in folder.iterdir() if path.suffix in (".cpp", ".h"))
    return {path.name: path.read_text(encoding="utf-8") for path in found}


def _headers(plan: Plan, backend: Backend) -> dict[str, str]:
    """All headers by include path; one path cannot mean two texts."""
    headers = {**common_headers(), **backend.headers()}
    owners = dict.fromkeys(headers, "the core")
    for kernel in plan.kernels:
        for path, text in kernel.source.headers.items():
            if headers.setdefault(path, text) != text:
                raise PlanError(
                    f"{owners[path]} and kernel {kernel.kernel} of {kernel.distribution} bring other texts "
                    f"as {path}; give one of them another name."
                )
            owners.setdefault(path, f"kernel {kernel.kernel} of {kernel.distribution}")
    return headers
