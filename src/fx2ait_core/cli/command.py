"""What all commands share: errors as one message, and a dataclass of options in place of parameters."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
from collections.abc import Callable
from typing import Any

import typer

from ..errors import Fx2aitError
from .entry import EXIT_INTERRUPTED
from .output import complain

EXIT_ERROR = 2


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Make ``function`` a command: a parameter whose type is a dataclass becomes its fields, each an
    option; an :class:`~fx2ait_core.errors.Fx2aitError` becomes one message and exit code 2; Ctrl-C, 130.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    bundles: dict[str, type] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if dataclasses.is_dataclass(hints[name]):
            bundles[name] = hints[name]
            parameters += _fields(hints[name])
        else:
            parameters.append(parameter.replace(annotation=hints[name]))

    @functools.wraps(function)
    def run(**given: Any) -> None:
        for name, bundle in bundles.items():
            own = {field.name: given.pop(field.name) for field in dataclasses.fields(bundle)}
            given[name] = bundle(**own)
        try:
            function(**given)
        except Fx2aitError as error:
            complain(str(error))
            raise typer.Exit(EXIT_ERROR) from None
        except KeyboardInterrupt:
            complain("interrupted")
            raise typer.Exit(EXIT_INTERRUPTED) from None

    keyword = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    run.__signature__ = inspect.Signature(keyword)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in keyword}
    del run.__wrapped__  # typer would look past the signature
    return run


def _fields(bundle: type) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(bundle, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default if field.default is not dataclasses.MISSING else inspect.Parameter.empty,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(bundle)
    ]
