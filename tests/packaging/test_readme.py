"""What the README shows works as it is shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fx2ait_core.cli.app import application
from fx2ait_core.recipes.loader import parse_recipe
from fx2ait_core.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_recipes_are_valid() -> None:
    found = snippets("yaml")
    assert found
    for text in found:
        parse_recipe(text, "README.md")


def test_the_plugin_example_is_a_plugin(tmp_path: Path) -> None:
    (text,) = [snippet for snippet in snippets("python") if "hookimpl" in snippet]
    namespace: dict[str, object] = {}
    exec(text, namespace)
    hooks = sorted(name for name in namespace if name.startswith("fx2ait_"))
    assert hooks == ["fx2ait_converters", "fx2ait_expressions", "fx2ait_operators"]
    for hook in hooks:
        (record,) = namespace[hook]()  # type: ignore[operator]
        assert record is not None


@pytest.mark.slow
def test_the_library_example_runs(tmp_path: Path) -> None:
    (text,) = [snippet for snippet in snippets("python") if "fx2ait.compile" in snippet]
    (tmp_path / "example.py").write_text(text)
    finished = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        env={**os.environ, "FX2AIT_NO_TUNE": "1"},  # measuring kernels is not what is shown
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert (tmp_path / "resnet18.fx2ait").is_file()


def test_every_command_shown_exists_with_its_options() -> None:
    shown = re.findall(r"^    fx2ait ([a-z]+)(.*?)(?:  +#.*)?$", README, re.MULTILINE)
    assert len(shown) >= 8
    runner, app = CliRunner(), application(Settings())
    for name, rest in shown:
        words = runner.invoke(app, [name, "--help"], env={"COLUMNS": "200"})
        assert words.exit_code == 0, name
        for option in re.findall(r"(--?[a-z][a-z-]*)", rest.replace("resnet18-h100", "")):
            assert option in words.stdout, f"{name} {option}"


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / link).exists(), link


def test_what_make_is_told_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make ([a-z]+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    assert "RECIPE ?= resnet18" in makefile
