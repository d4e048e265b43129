"""Jinja templates of generated sources; the only module that imports jinja2."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from ..extend.problem import Problem
from ..ir.dims import c_expression
from . import launcher


class Templates:
    """The templates and headers inside one Python package.

    :param package: the package's dotted name, usually ``__package__``.
    :param folder: the folder inside it.
    """

    def __init__(self, package: str, folder: str = "kernels") -> None:
        self.package = package
        self.folder = folder

    @cached_property
    def root(self) -> Path:
        return Path(str(files(self.package))) / self.folder

    @cached_property
    def _environment(self) -> jinja2.Environment:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(self.root),
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        environment.filters["c"] = c_expression
        return environment

    def render(self, template: str, **variables: Any) -> str:
        return self._environment.get_template(template).render(**variables)

    def kernel(self, template: str, name: str, problem: Problem, **variables: Any) -> str:
        """Render a kernel's source.

        Beside ``variables`` the template sees ``name``, ``problem``, ``signature`` (the launcher's
        declaration), ``epilogue`` (``struct Epilogue``), ``make_epilogue`` (``Epilogue{e0, …}``),
        ``finish`` (``struct Finish``, for kernels that absorb windows) and ``result_type`` (C++ element
        type of the result).
        """
        return self.render(
            template,
            name=name,
            problem=problem,
            signature=launcher.signature(name, problem),
            epilogue=launcher.epilogue_struct(problem),
            make_epilogue=launcher.epilogue_initializer(problem),
            finish=launcher.finish_struct(problem),
            result_type=launcher.c_type(problem.result, problem),
            **variables,
        )

    def headers(self, *names: str) -> Mapping[str, str]:
        """Header texts by include path ``<package>/<file name>``."""
        return {f"{self.package}/{Path(n).name}": (self.root / n).read_text(encoding="utf-8") for n in names}
