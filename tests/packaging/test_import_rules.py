"""The rules of the house, read from the sources: who imports whom, and what appears only where."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = ROOT / "src" / "fx2ait_core"

# Low to high: a room imports rooms of its own level or lower ones.
LEVELS = (
    {"errors", "settings"},
    {"ir"},
    {"target"},
    {"extend"},
    {"normalize", "passes", "plan", "emit", "tune", "sdk"},
    {"capture", "partition", "lower"},
    {"build"},
    {"runtime"},
    {"bench", "report"},
    {"builtin", "compiler", "memo"},
    {"recipes"},
    {"cli"},
    {"testing"},
)
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

# Built-in targets are written like a plugin's: beyond the contract, which is below `extend`, they use
# what plugins use.
TARGET_CONTRACT = ("target/__init__.py", "target/target.py", "target/backend.py")

# What appears only in some files, and where. The compiler, its memo and the recipes hand modules and
# tensors on, so they name torch; nothing between capture and the engine does.
ONLY_IN = {
    "torch": (
        "capture",
        "normalize",
        "partition",
        "lower",
        "runtime",
        "bench",
        "testing",
        "compiler.py",
        "memo.py",
        "recipes/instantiate.py",
        "cli",  # in type annotations, and in `doctor`, which looks for it; never at import
    ),
    "pluggy": ("extend",),
    "jinja2": ("emit/templates.py",),
    "yaml": ("recipes/loader.py",),
    "subprocess": ("build",),
}

# "convert", "convention", "ThreadPool" and "ConstantPool" are no operators.
OPERATOR_NAME = re.compile(
    r"conv(?!er|en)|relu|(max|avg|average|adaptive|global)\w*pool|pooling|pool\d|batch_?norm", re.IGNORECASE
)


def files() -> list[Path]:
    return sorted(CORE.rglob("*.py"))


def name_of(file: Path) -> str:
    return file.relative_to(CORE).as_posix()


@cache
def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imported(file: Path, inside: Path, package: str) -> Iterator[str]:
    """Absolute names of the modules that ``file`` of the package at ``inside`` imports, wherever it does."""
    parts = [package, *file.relative_to(inside).with_suffix("").parts]
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module.split(".") if node.module else []
            base = [*parts[: len(parts) - node.level], *module] if node.level else module
            # "from . import x" and "from .. import x" name modules
            yield from (".".join([*base, alias.name]) for alias in node.names)


def at_import(file: Path) -> Iterator[str]:
    """Packages that importing ``file`` imports: not those inside functions or for type checkers."""
    waiting: list[ast.AST] = [tree(file)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).split(".")[0]
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)


def room(dotted: str) -> str | None:
    parts = dotted.split(".")
    return parts[1] if parts[0] == "fx2ait_core" and len(parts) > 1 else None


@pytest.mark.parametrize("file", files(), ids=name_of)
def test_rooms_import_downwards_only(file: Path) -> None:
    name = name_of(file)
    if name == "__init__.py":  # the public names
        return
    own = file.relative_to(CORE).with_suffix("").parts[0]
    assert own in LEVEL, f"{name}: the room {own} has no place in the order"
    is_like_plugin = own == "target" and name not in TARGET_CONTRACT
    allowed = LEVEL["sdk"] if is_like_plugin else LEVEL[own]
    upward = sorted(
        {
            target
            for target in map(room, imported(file, CORE, "fx2ait_core"))
            if target in LEVEL and LEVEL[target] > allowed
        }
    )
    assert not upward, f"{name} imports {', '.join(upward)}, which stand above it"


@pytest.mark.parametrize("package", ONLY_IN)
def test_packages_appear_only_where_they_may(package: str) -> None:
    places = ONLY_IN[package]
    elsewhere = [
        name
        for file in files()
        if not (name := name_of(file)).startswith(places)
        and any(found.split(".")[0] == package for found in imported(file, CORE, "fx2ait_core"))
    ]
    assert not elsewhere, f"{package} is imported by {', '.join(elsewhere)}"


@pytest.mark.parametrize("name", [name_of(file) for file in (CORE / "cli").glob("*.py")])
def test_the_command_line_starts_without_torch(name: str) -> None:
    assert "torch" not in set(at_import(CORE / name))


def test_only_settings_read_the_environment() -> None:
    readers = []
    for file in files():
        for node in ast.walk(tree(file)):
            reads = (isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv", "environb")) or (
                isinstance(node, ast.ImportFrom)
                and node.module == "os"
                and any(alias.name in ("environ", "getenv") for alias in node.names)
            )
            if reads:
                readers.append(name_of(file))
    assert set(readers) == {"settings.py"}


def identifiers(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            yield node.name
        elif isinstance(node, (ast.arg, ast.keyword)) and node.arg:
            yield node.arg
        elif isinstance(node, ast.alias):
            yield node.name


@pytest.mark.parametrize("file", files(), ids=name_of)
def test_the_core_names_no_operator_family(file: Path) -> None:
    found = sorted({name for name in identifiers(tree(file)) if OPERATOR_NAME.search(name)})
    assert not found, f"{name_of(file)} uses {', '.join(found)}; an operator's own code belongs to its plugin"


def plugin_files() -> list[Path]:
    folders = [*ROOT.glob("plugins/*/src"), ROOT / "model_zoo" / "src", *ROOT.glob("examples/*/src")]
    return sorted(file for folder in folders for file in folder.rglob("*.py"))


@pytest.mark.parametrize("file", plugin_files(), ids=lambda file: file.relative_to(ROOT).as_posix())
def test_plugins_import_the_sdk_and_nothing_else_of_the_core(file: Path) -> None:
    source = next(parent for parent in file.parents if parent.name == "src")
    package = file.relative_to(source).parts[0]
    ours = [name for name in imported(file, source / package, package) if name.startswith("fx2ait_")]
    allowed = ("fx2ait_core.sdk", package)
    wrong = [name for name in ours if not any(f"{name}.".startswith(f"{good}.") for good in allowed)]
    assert not wrong, f"{file.name} imports {', '.join(wrong)}"


def test_the_rules_can_fail(tmp_path: Path) -> None:
    """The readers above see what they are meant to see."""
    file = tmp_path / "ir" / "bad.py"
    file.parent.mkdir()
    file.write_text(
        "import os.path\nfrom ..cli import app\nfrom . import graph\nfrom ..settings import Settings\n"
        "def f(relu_slope):\n    import torch\n    return thread_pool, convert, MaxPool\n"
    )
    found = set(imported(file, tmp_path, "fx2ait_core"))
    assert {"os.path", "fx2ait_core.cli.app", "fx2ait_core.ir.graph", "torch"} <= found
    assert room("fx2ait_core.cli.app") == "cli"
    assert set(at_import(file)) == {"os"}
    names = [name for name in identifiers(tree(file)) if OPERATOR_NAME.search(name)]
    assert sorted(names) == ["MaxPool", "relu_slope"]
