"""The commands about the installation: plugins, recipes, doctor."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

import fx2ait_core.cli.app
import fx2ait_core.cli.doctor
import fx2ait_core.cli.plugins
import fx2ait_core.cli.recipes
from fx2ait_core.cli.app import application
from fx2ait_core.cli.doctor import Check
from fx2ait_core.errors import ToolchainError
from fx2ait_core.extend.contributions import RecipeFolder
from fx2ait_core.extend.manager import PluginSet
from fx2ait_core.extend.registry import Contribution, Registry
from fx2ait_core.extend.report import PluginRow
from fx2ait_core.settings import Settings

RECIPE = "name: tiny\ndescription: A tiny one\nmodel: torch.nn:Identity\ninputs: [{name: x, shape: [3]}]\n"


def call(*words: object) -> Result:
    return CliRunner().invoke(application(Settings()), [str(word) for word in words])


def install(monkeypatch: pytest.MonkeyPatch, rows: list[PluginRow], **contributions: Any) -> None:
    """Pretend that exactly these plugins are installed."""
    plugins = PluginSet(tuple(rows), Registry(contributions))
    for module in (
        fx2ait_core.cli.app,
        fx2ait_core.cli.doctor,
        fx2ait_core.cli.plugins,
        fx2ait_core.cli.recipes,
    ):
        monkeypatch.setattr(module, "installed_plugins", lambda settings: plugins)


def row(name: str, status: Any = "ok", cause: str = "", **contributions: int) -> PluginRow:
    return PluginRow(name, f"fx2ait-{name}", "0.1.0", name, status, cause, contributions)


def test_plugins_are_listed_with_what_became_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row("good", converters=2, passes=1), row("bad", "failed", "ImportError: no [thing]")]
    install(monkeypatch, rows)
    result = call("plugins")
    assert result.exit_code == 0
    assert "2 converters, 1 pass" in result.stdout
    assert "ImportError: no [thing]" in result.stdout
    listed = json.loads(call("plugins", "--json").stdout)
    assert [(item["name"], item["status"]) for item in listed] == [("good", "ok"), ("bad", "failed")]


def test_without_plugins_the_command_that_installs_them_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, [])
    result = call("plugins")
    assert result.exit_code == 0
    assert "pip install -r requirements.txt" in result.stdout
    assert json.loads(call("plugins", "--json").stdout) == []
    assert "pip install -r requirements.txt" in call("recipes").stdout
    for line in ("./plugins/elementwise ./model_zoo", "pip install -r requirements.txt"):
        assert any(shown.endswith(line) for shown in result.stdout.splitlines()), "commands are not wrapped"


def test_recipes_are_listed_and_their_schema_printed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    install(monkeypatch, [], recipes=[Contribution(RecipeFolder(tmp_path), "fx2ait-mine 1.0")])
    assert "A tiny one" in call("recipes").stdout
    listed = json.loads(call("recipes", "--json").stdout)
    assert [(item["name"], item["distribution"]) for item in listed] == [("tiny", "fx2ait-mine 1.0")]
    assert json.loads(call("recipes", "--schema").stdout)["title"] == "fx2ait recipe"


def test_a_plugins_command_is_added_but_never_over_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    mine, clashing = typer.Typer(name="mine"), typer.Typer(name="run")
    for group in (mine, clashing):
        group.command("hello")(lambda: typer.echo("hello from a plugin"))
    commands = [Contribution(mine, "fx2ait-mine 1.0"), Contribution(clashing, "fx2ait-clash 1.0")]
    install(monkeypatch, [], commands=commands)
    assert "hello from a plugin" in call("mine", "hello").stdout
    assert "Compile, verify and benchmark" in call("run", "--help").stdout


def test_two_plugins_with_one_command_leave_the_core_working(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [Contribution(typer.Typer(name="mine"), f"fx2ait-{name} 1.0") for name in "ab"]
    install(monkeypatch, [], commands=commands)
    application(Settings())
    assert "fx2ait-a 1.0 and by fx2ait-b 1.0" in capsys.readouterr().err
    assert call("--version").exit_code == 0


def statuses(result: Result) -> dict[str, str]:
    return {item["name"]: item["status"] for item in json.loads(result.stdout)}


def test_the_doctor_finds_what_is_here(tmp_path: Path) -> None:
    result = call("doctor", "--json", "--cache-dir", tmp_path / "new")
    found = statuses(result)
    assert found["python"] == found["torch"] == found["ninja"] == found["cache"] == "ok"
    assert "C++ compiler" in found
    assert (tmp_path / "new").is_dir()


def test_the_doctor_names_the_mend_and_fails_only_for_what_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from fx2ait_core.build import toolchain  # noqa: PLC0415

    def absent(settings: Settings) -> None:
        raise ToolchainError("No C++ compiler: run `apt-get install g++`.")

    monkeypatch.setattr(toolchain, "find_cxx", absent)
    result = call("doctor")
    assert result.exit_code == 1
    assert "apt-get install g++" in result.stdout

    def checks(needed: bool) -> Any:
        return lambda settings: iter([Check("thing", None, needed, "do this")])

    monkeypatch.setattr(fx2ait_core.cli.doctor, "examine", checks(False))
    assert call("doctor").exit_code == 0
    monkeypatch.setattr(fx2ait_core.cli.doctor, "examine", checks(True))
    assert call("doctor").exit_code == 1


def test_the_doctor_reports_plugins_and_an_unwritable_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install(monkeypatch, [row("conv", converters=1), row("bad", "failed", "boom")])
    blocked = tmp_path / "file"
    blocked.write_text("")
    result = call("doctor", "--json", "--cache-dir", blocked / "cache")
    found = statuses(result)
    assert found["plugin bad"] == "missing"
    assert found["plugins"] == "ok"
    assert found["first-party plugins"] == "absent"
    assert found["cache"] == "absent"
    assert result.exit_code == 1
    install(monkeypatch, [])
    assert statuses(call("doctor", "--json"))["plugins"] == "missing"
