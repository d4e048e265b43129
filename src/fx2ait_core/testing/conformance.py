"""What every plugin must keep, as one check for its author's tests."""

from __future__ import annotations

import dataclasses
import inspect
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import BuildError, PluginError, ToolchainError
from ..extend.contributions import Converter, Kernel, PointwiseExpression
from ..extend.discovery import FoundPlugin, find_plugins
from ..extend.loading import LoadedPlugin, load_plugin
from ..extend.registry import KEYS
from ..ir.operator import Attributes, Operator, PointwiseOperator
from ..target import builtin
from ..target.backend import Backend
from .expressions import ScalarCase, compile_expressions

_OVERLOAD = re.compile(r"\w+\.\w+\.\w+")
_KIND = re.compile(r"[a-z]\w*\.[a-z]\w*")


def check_plugin(name: str) -> None:
    """Check an installed plugin by the name of its entry point.

    Hooks are valid and none is misspelled; names are unique and well formed; attributes are frozen
    dataclasses; every pointwise operator has an expression, and each compiles without a warning for
    every built-in target whose compiler is here; converters and kernels can be called as the core
    calls them.

    Raises ``AssertionError`` that lists every fault.
    """
    found = _find(name)
    try:
        faults = list(_faults(load_plugin(found)))
    except PluginError as error:
        faults = [str(error)]
    assert not faults, f"plugin {name}:\n  " + "\n  ".join(faults)


def _find(name: str) -> FoundPlugin:
    found = [plugin for plugin in find_plugins() if plugin.entry == name]
    if len(found) != 1:
        owners = ", ".join(plugin.label for plugin in found) or "no distribution"
        raise AssertionError(f"the entry point {name!r} is brought by {owners}; exactly one is needed")
    return found[0]


def _faults(loaded: LoadedPlugin) -> Iterator[str]:
    records = loaded.records
    if loaded.plugin.core_requirement == "":
        yield "its distribution does not depend on fx2ait-core with a range, e.g. fx2ait-core>=0.1,<0.2"
    for kind, key in KEYS.items():
        for name, count in Counter(key(record) for record in records[kind]).items():
            if count > 1:
                yield f"{kind}: {name} is contributed {count} times"
    for operator in records["operators"]:
        yield from _operator_faults(operator)
    claims = Counter((c.overload, c.priority) for c in records["converters"])
    for (overload, priority), count in claims.items():
        if count > 1:
            yield f"converters: {overload} has {count} of priority {priority}"
    for converter in records["converters"]:
        yield from _converter_faults(converter)
    yield from _expression_faults(records["operators"], records["expressions"])
    for kernel in records["kernels"]:
        yield from _kernel_faults(kernel)
    for folder in records["recipes"]:
        if not folder.path.is_dir():
            yield f"recipes: {folder.path} is not a folder"


def _operator_faults(operator: type[Operator]) -> Iterator[str]:
    if not _KIND.fullmatch(operator.kind):
        yield f"operator {operator.kind!r}: a kind is written plugin.operator"
    if not operator.__doc__:
        yield f"operator {operator.kind}: without a docstring nobody knows its operands"
    for name in operator.operand_names:
        if not name.isidentifier():
            yield f"operator {operator.kind}: operand {name!r} becomes a C++ parameter, so it must be a name"
    if operator.infer.__func__ is Operator.infer.__func__:  # type: ignore[attr-defined]
        yield f"operator {operator.kind}: it does not infer the types of its results"


def _converter_faults(converter: Converter) -> Iterator[str]:
    if not _OVERLOAD.fullmatch(converter.overload):
        yield f"converter {converter.overload!r}: an overload is written aten.relu.default"
    for role, function in (("convert", converter.convert), ("supports", converter.supports)):
        if not _takes(function, 1):
            yield f"converter {converter.overload}: {role} must take the call"


def _kernel_faults(kernel: Kernel) -> Iterator[str]:
    expected = (("supports", 1), ("candidates", 1), ("emit", 3), ("label", 2))
    for role, count in expected:
        if not _takes(getattr(kernel, role), count):
            yield f"kernel {kernel.name}: {role} must take {count} arguments"
    if not kernel.name.isidentifier():
        yield f"kernel {kernel.name!r}: the name must be an identifier"


def _takes(function: Any, count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True


def sample_attributes(operator: type[Operator]) -> Attributes:
    """Attributes of a pointwise operator, every field 0.5.

    Raises ``TypeError`` where they are no frozen dataclass.
    """
    kind: type[Attributes] = getattr(operator, "attribute_type", Attributes)
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen:
        raise TypeError(f"{kind.__name__} must be a frozen dataclass")
    return kind(**{field.name: 0.5 for field in dataclasses.fields(kind)})


def _expression_faults(
    operators: Iterable[type[Operator]], expressions: Sequence[PointwiseExpression]
) -> Iterator[str]:
    backends = builtin.fx2ait_targets()
    covered = {(expression.operator.kind, expression.target) for expression in expressions}
    for operator in operators:
        if not issubclass(operator, PointwiseOperator) or (operator.kind, None) in covered:
            continue
        for backend in backends:
            if (operator.kind, backend.name) not in covered:
                yield f"operator {operator.kind}: no expression for {backend.name}"
    cases: list[ScalarCase] = []
    for expression in expressions:
        try:
            case = ScalarCase(expression, sample_attributes(expression.operator))
            case.text([f"x{i}" for i in range(case.arity)])
        except (IndexError, KeyError, TypeError, ValueError) as error:
            yield (
                f"expression of {expression.operator.kind}: {expression.expression!r} cannot be filled in "
                f"({type(error).__name__}: {error}); braces hold operand numbers or attribute names"
            )
        else:
            cases.append(case)
    for backend in backends:
        yield from _compiler_faults(backend, cases)


def _compiler_faults(backend: Backend, cases: Sequence[ScalarCase]) -> Iterator[str]:
    written = {c.expression.operator.kind for c in cases if c.expression.target == backend.name}
    mine = [
        case
        for case in cases
        if case.expression.target == backend.name
        or (case.expression.target is None and case.expression.operator.kind not in written)
    ]
    if not mine:
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            compile_expressions(Path(folder), backend, mine)
        except BuildError as error:
            yield f"expressions do not compile for {backend.name}:\n{error}"
        except ToolchainError:
            return
