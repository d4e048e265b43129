"""Step two, load: import one plugin, check its hooks and gather what they return, in isolation."""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
from packaging.specifiers import SpecifierSet

from ..errors import PluginError
from ..ir.operator import Operator, PointwiseOperator
from ..target.backend import Backend
from . import specs
from .contributions import Converter, Kernel, Pass, PointwiseExpression, RecipeFolder
from .discovery import CORE, FoundPlugin, core_version

_IMPORTLIB = str(Path(importlib.__file__).parent)
PREFIX = f"{specs.PROJECT}_"
HOOKS = tuple(sorted(name for name in vars(specs) if name.startswith(PREFIX)))


def _is_operator(record: Any) -> bool:
    return (
        isinstance(record, type)
        and issubclass(record, Operator)
        and isinstance(getattr(record, "kind", None), str)
    )


def _is_expression(record: Any) -> bool:
    return isinstance(record, PointwiseExpression) and issubclass(record.operator, PointwiseOperator)


def _instance_of(kind: type) -> Callable[[Any], bool]:
    return lambda record: isinstance(record, kind)


# The kind of record that each list-valued hook returns: what it is called, and a check.
_RECORDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "fx2ait_operators": ("Operator classes with a kind", _is_operator),
    "fx2ait_converters": ("Converter records", _instance_of(Converter)),
    "fx2ait_expressions": ("PointwiseExpression records of PointwiseOperator classes", _is_expression),
    "fx2ait_kernels": ("Kernel records", _instance_of(Kernel)),
    "fx2ait_passes": ("Pass records", _instance_of(Pass)),
    "fx2ait_targets": ("Backend instances", _instance_of(Backend)),
    "fx2ait_recipes": ("RecipeFolder records", _instance_of(RecipeFolder)),
    "fx2ait_commands": ("typer.Typer applications with a name", lambda record: bool(_command_name(record))),
}


def _command_name(record: Any) -> str:
    name = getattr(getattr(record, "info", None), "name", None)
    return name if isinstance(name, str) else ""


@dataclass(frozen=True)
class LoadedPlugin:
    """A plugin whose hooks all gave what they should: records by kind (``operators``, …)."""

    plugin: FoundPlugin
    records: dict[str, list[Any]]
    seconds: float


def load_plugin(plugin: FoundPlugin, module: Any = None) -> LoadedPlugin:
    """Import ``plugin`` (or take ``module``) and call each of its hooks once.

    What the plugin prints goes to standard error: standard output is for results.

    Raises :class:`~fx2ait_core.errors.PluginError` with the cause, whatever went wrong: the
    import, the hooks' names or signatures, the contract's version, or a hook's answer.
    """
    with redirect_stdout(sys.stderr):
        return _load(plugin, module)


def _load(plugin: FoundPlugin, module: Any) -> LoadedPlugin:
    start = time.perf_counter()
    check_core_version(plugin)
    if module is None:
        try:
            module = plugin.load()
        except (Exception, SystemExit) as error:
            raise PluginError(f"import of {plugin.reference} failed: {_described(error)}") from error
    manager = register(module)
    check_contract(manager)
    records = {
        hook.removeprefix(PREFIX): _gather(manager, hook, description, accepts)
        for hook, (description, accepts) in _RECORDS.items()
    }
    for backend in records["targets"]:
        records["kernels"] += _kernels_of(backend)
    return LoadedPlugin(plugin, records, time.perf_counter() - start)


def _kernels_of(backend: Backend) -> list[Any]:
    """A target's kernels for the core's own operators count as its plugin's."""
    kernels = _call(f"target {backend.name}: kernels()", backend.kernels)
    if not isinstance(kernels, (list, tuple)) or not all(isinstance(kernel, Kernel) for kernel in kernels):
        raise PluginError(f"target {backend.name}: kernels() must return a list of Kernel records")
    return list(kernels)


def check_core_version(plugin: FoundPlugin) -> None:
    """Raises :class:`PluginError` where the distribution asks for another version of the core."""
    version = core_version()
    if plugin.core_requirement and version:
        if SpecifierSet(plugin.core_requirement).contains(version, prereleases=True):
            return
        raise PluginError(
            f"needs {CORE}{plugin.core_requirement}, but {version} is installed; "
            f"upgrade {plugin.distribution} or install a {CORE} that fits"
        )


def register(module: Any) -> pluggy.PluginManager:
    """A manager that holds this plugin alone, so that its faults are its own.

    Raises :class:`PluginError` for misspelled, unmarked and ill-formed hooks.
    """
    manager = pluggy.PluginManager(specs.PROJECT)
    manager.add_hookspecs(specs)
    problems = _misnamed(manager, module)
    if problems:
        raise PluginError("; ".join(problems))
    try:
        manager.register(module)
        manager.check_pending()
    except (pluggy.PluginValidationError, TypeError, ValueError) as error:
        raise PluginError(f"invalid hook: {' '.join(str(error).split())}") from error
    if not manager.get_hookcallers(module):
        raise PluginError(f"implements none of the hooks {', '.join(HOOKS)}")
    return manager


def _misnamed(manager: pluggy.PluginManager, module: Any) -> list[str]:
    """Functions that look like hooks and are none."""
    problems = []
    for name in sorted(dir(module)):
        value = getattr(module, name, None)
        if not inspect.isroutine(value) or isinstance(value, ModuleType):
            continue
        options = manager.parse_hookimpl_opts(module, name)
        hook = (options.get("specname") if options else None) or name
        if options is None and not name.startswith(PREFIX):
            continue
        if hook not in HOOKS:
            near = difflib.get_close_matches(hook, HOOKS, 1, 0.0)
            problems.append(f"{name} is no hook; did you mean {near[0]}?")
        elif options is None:
            problems.append(f"{name} lacks the decorator @hookimpl")
    return problems


def check_contract(manager: pluggy.PluginManager) -> None:
    """Raises :class:`PluginError` where the plugin was written for another contract."""
    for implementation in manager.hook.fx2ait_contract.get_hookimpls():
        version = _call("fx2ait_contract", implementation.function)
        if version != specs.CONTRACT_VERSION or isinstance(version, bool):
            raise PluginError(
                f"written for version {version!r} of the plugin contract, but this core speaks version "
                f"{specs.CONTRACT_VERSION}; install a matching version of the plugin or of {CORE}"
            )


def _gather(
    manager: pluggy.PluginManager, hook: str, description: str, accepts: Callable[[Any], bool]
) -> list[Any]:
    """The records that a hook returns; pluggy's own call would stop at the first that raises."""
    records: list[Any] = []
    for implementation in getattr(manager.hook, hook).get_hookimpls():
        answer = _call(hook, implementation.function)
        if not isinstance(answer, (list, tuple)):
            raise PluginError(f"{hook} returned {type(answer).__name__}, not a list of {description}")
        for record in answer:
            if not _accepted(record, accepts):
                raise PluginError(f"{hook} returned {record!r} in its list; it takes {description}")
        records.extend(answer)
    return records


def _accepted(record: Any, accepts: Callable[[Any], bool]) -> bool:
    try:
        return accepts(record)
    except TypeError:
        return False


def _call(hook: str, function: Callable[[], Any]) -> Any:
    try:
        return function()
    except (Exception, SystemExit) as error:
        raise PluginError(f"{hook} raised {_described(error)}") from error


def _described(error: BaseException) -> str:
    """The exception with the place it came from, unless Python's own import machinery raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = frames and not frames[-1].filename.startswith(("<frozen importlib", _IMPORTLIB))
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {error}{place}"
