"""Reads a recipe file; every complaint carries file, line, column, key and the nearest valid key."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ..errors import RecipeError
from .schema import Recipe

KeyPath: TypeAlias = tuple[str | int, ...]


def load_recipe(path: Path) -> Recipe:
    """The recipe in the file ``path``.

    Raises :class:`~fx2ait_core.errors.RecipeError` that lists every fault as
    ``file:line:column: key: what``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from error
    return parse_recipe(text, str(path))


def parse_recipe(text: str, file: str) -> Recipe:
    """The recipe written in ``text``; ``file`` names it in errors."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise RecipeError(f"{file}:1:1: a recipe is a mapping of keys to values")
        marks, faults = _locate(node)
        if faults:
            raise RecipeError("\n".join(f"{file}:{_position(mark)}: {what}" for mark, what in faults))
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        raise RecipeError(f"{file}:{_position(error.problem_mark)}: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise RecipeError(f"{file}: {error}") from error
    finally:
        loader.dispose()

    def place(path: KeyPath) -> str:
        while path and path not in marks:
            path = path[:-1]
        return f"{file}:{_position(marks[path])}"

    return _validate(data, place)


def override(recipe: Recipe, assignments: Sequence[str]) -> Recipe:
    """``recipe`` with fields replaced, e.g. ``["verify.samples=2", "kwargs.num_classes=10"]``.

    Values are YAML. Raises :class:`~fx2ait_core.errors.RecipeError` that quotes the assignment.
    """
    data = recipe.model_dump(mode="json", exclude_unset=True)
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise RecipeError(f"--set {assignment}: write KEY=VALUE, e.g. verify.samples=2")
        path = tuple(int(part) if part.isdecimal() else part for part in key.strip().split("."))
        try:
            value = yaml.load(text, Loader=_Loader)  # a SafeLoader
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {assignment}: the value is not YAML: {error}") from error
        try:
            _assign(data, path, value)
        except (LookupError, TypeError) as error:
            raise RecipeError(f"--set {assignment}: the recipe has no place called {key}") from error
    return _validate(data, lambda path: f"--set on recipe {recipe.name}") if assignments else recipe


class _Loader(yaml.SafeLoader):
    """YAML's safe types, with ``1e-2`` read as the number that its writer meant."""


_Loader.yaml_implicit_resolvers = {
    first: list(resolvers) for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _locate(root: yaml.MappingNode) -> tuple[dict[KeyPath, yaml.Mark], list[tuple[yaml.Mark, str]]]:
    """Where each key stands, and faults that only the text shows: repeated keys, aliases."""
    marks: dict[KeyPath, yaml.Mark] = {(): root.start_mark}
    faults: list[tuple[yaml.Mark, str]] = []
    seen: set[int] = set()

    def visit(node: yaml.Node, path: KeyPath) -> None:
        if id(node) in seen:
            faults.append((node.start_mark, f"{_dotted(path)}: aliases are not accepted; repeat the value"))
            return
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = (*path, key.value if isinstance(key, yaml.ScalarNode) else "?")
                if inner in marks:
                    faults.append((key.start_mark, f"{_dotted(inner)}: the key is given twice"))
                marks[inner] = key.start_mark
                visit(value, inner)
        elif isinstance(node, yaml.SequenceNode):
            for index, value in enumerate(node.value):
                marks[*path, index] = value.start_mark
                visit(value, (*path, index))

    visit(root, ())
    return marks, faults


def _validate(data: Any, place: Callable[[KeyPath], str]) -> Recipe:
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        messages: dict[tuple[str, str], list[str]] = {}
        found = [(_visible(fault["loc"], data), fault) for fault in error.errors()]
        for path, fault in found:
            if any(len(deeper) > len(path) and deeper[: len(path)] == path for deeper, _ in found):
                continue  # only a consequence, e.g. "no valid item" of the item that is reported itself
            what = messages.setdefault((place(path), _dotted(path)), [])
            if fault["type"] == "extra_forbidden":
                what.append("unknown key" + _suggestion(path))
            elif fault["type"] == "missing":
                what.append("the key is missing")
            else:
                what.append(fault["msg"].removeprefix("Value error, ").replace("Input should", "should"))
        raise RecipeError(
            "\n".join(
                f"{where}: {key + ': ' if key else ''}{', or '.join(dict.fromkeys(what))}"
                for (where, key), what in messages.items()
            )
        ) from error


def _visible(location: tuple[str | int, ...], data: Any) -> KeyPath:
    """The part of a location that a reader sees: without the names that pydantic gives to union members."""
    path: list[str | int] = []
    for index, part in enumerate(location):
        is_missing_key = index == len(location) - 1 and isinstance(part, str) and part.isidentifier()
        if isinstance(data, dict) and (part in data or is_missing_key):
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _suggestion(path: KeyPath) -> str:
    known = sorted(_keys_at(path[:-1]))
    if near := difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5):
        return f"; did you mean {near[0]!r}?"
    return f"; known keys: {', '.join(known)}"


def _keys_at(path: KeyPath) -> set[str]:
    section: type[BaseModel] = Recipe
    for part in path:
        if isinstance(part, str) and part in section.model_fields:
            section = next(_sections(section.model_fields[part].annotation), section)
    return set(section.model_fields)


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)


def _assign(data: Any, path: KeyPath, value: Any) -> None:
    for part in path[:-1]:
        data = data.setdefault(part, {}) if isinstance(data, dict) else data[part]
    data[path[-1]] = value


def _dotted(path: KeyPath) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")


def _position(mark: yaml.Mark | None) -> str:
    return f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
