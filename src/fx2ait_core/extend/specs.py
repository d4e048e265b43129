"""Hook specifications: the whole contract between the core and a plugin.

Every hook takes nothing and returns a list of records, so that what a plugin brings can be
listed, attributed to its distribution and tested without a host.
"""

from __future__ import annotations

from typing import Any

import pluggy

from ..ir.operator import Operator
from .contributions import Converter, Kernel, Pass, PointwiseExpression, RecipeFolder

PROJECT = "fx2ait"
ENTRY_POINT_GROUP = "fx2ait"
CONTRACT_VERSION = 1

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def fx2ait_contract() -> int:  # type: ignore[empty-body]
    """The version of this contract that the plugin was written for.

    A plugin without this hook is taken to support the present one.

    :return: a version, e.g. ``1``.

    .. versionadded:: 0.1
    """


@hookspec
def fx2ait_operators() -> list[type[Operator]]:  # type: ignore[empty-body]
    """IR operators.

    :return: subclasses of :class:`~fx2ait_core.ir.operator.Operator`; kinds must be unique.

    .. versionadded:: 0.1
    """


@hookspec
def fx2ait_converters() -> list[Converter]:  # type: ignore[empty-body]
    """Converters from ATen overloads to IR operators.

    :return: one record per overload.

    .. versionadded:: 0.1
    """


@hookspec
def fx2ait_expressions() -> list[PointwiseExpression]:  # type: ignore[empty-body]
    """Scalar expressions of pointwise operators.

    :return: one record per operator, or per operator and target.

    .. versionadded:: 0.1
    """


@hookspec
def fx2ait_kernels() -> list[Kernel]:  # type: ignore[empty-body]
    """Kernels for operators, the plugin's own or another's.

    :return: kernels; names must be unique.

    .. versionadded:: 0.1
    """


@hookspec
def fx2ait_passes() -> list[Pass]:  # type: ignore[empty-body]
    """Passes, placed among the core's by ``before`` and ``after``.

    :return: passes; names must be unique.

    .. versionadded:: 0.1
    """


@hookspec
def fx2ait_targets() -> list[Any]:  # type: ignore[empty-body]
    """Targets.

    :return: instances of :class:`~fx2ait_core.target.backend.Backend`.

    .. versionadded:: 0.1
    """


@hookspec
def fx2ait_recipes() -> list[RecipeFolder]:  # type: ignore[empty-body]
    """Folders of model recipes.

    :return: folders; recipe names must be unique.

    .. versionadded:: 0.1
    """


@hookspec
def fx2ait_commands() -> list[Any]:  # type: ignore[empty-body]
    """Further subcommands of ``fx2ait``.

    :return: ``typer.Typer`` applications, each with a name.

    .. versionadded:: 0.1
    """
