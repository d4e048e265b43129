"""The commands, with a compiler that is only pretended: what they print, write and answer."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

import fx2ait_core.compiler
from fx2ait_core.bench.rivals import usual_rivals
from fx2ait_core.cli.app import application
from fx2ait_core.cli.options import BatchChoice
from fx2ait_core.errors import BuildError, SettingsError
from fx2ait_core.settings import Settings
from fx2ait_core.target.cuda.driver import NoDevice

RECIPE = """\
name: tiny
description: A tiny model
model: torch.nn:Linear
kwargs: {in_features: 6, out_features: 4}
inputs: [{name: row, shape: [batch, 6]}]
dynamic: {batch: {min: 1, max: 16, tune: {cpu: [1, 8]}}}
precision: {cuda: fp16, cpu: fp32}
verify: {samples: 4, max_relative_error: {cuda: 1e-2, cpu: 1e-3}}
benchmark: {batch: [1, 2, 64], rounds: 2}
"""


class PretendedEngine:
    def __init__(self, model: torch.nn.Module, low: int, high: int) -> None:
        self.model = copy.deepcopy(model)
        self.manifest = {
            "name": "tiny",
            "precision": "float32",
            "target": {"name": "cpu", "arch": "x86-64-v3", "device": "a processor", "features": []},
            "symbols": {"batch": {"min": low, "max": high}},
            "inputs": [{"name": "row", "shape": ["batch", 6], "dtype": "float32"}],
            "outputs": [{"name": "output", "shape": ["batch", 4], "dtype": "float32"}],
            "plugins": {"fx2ait-linear": "0.1.0"},
        }

    def __call__(self, *inputs: torch.Tensor) -> Any:
        return self.model(*inputs)

    def save(self, path: Path) -> Path:
        path.write_bytes(b"engine")
        return path


class Pretence:
    """Stands for :func:`fx2ait_core.compiler.compile`; remembers what it was asked for."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self.examples: tuple[torch.Tensor, ...] = ()
        self.fault: BaseException | None = None
        self.damage = 0.0

    def __call__(self, model: torch.nn.Module, examples: tuple[torch.Tensor, ...], **options: Any) -> Any:
        self.options, self.examples = options, examples
        if self.fault:
            raise self.fault
        options["progress"].stage("build")
        options["progress"].units(1, 2, "kernel")
        size = examples[0].shape[0]
        engine = PretendedEngine(model, *(options["dynamic_batch"] or (size, size)))
        with torch.no_grad():
            engine.model.weight += self.damage  # type: ignore[operator]
        return engine


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Pretence:
    pretence = Pretence()
    monkeypatch.setattr(fx2ait_core.compiler, "compile", pretence)
    return pretence


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def call(*words: object) -> Result:
    return CliRunner().invoke(application(Settings()), [str(word) for word in words])


def test_run_prints_errors_and_table(compiler: Pretence, recipe: Path, tmp_path: Path) -> None:
    record, table = tmp_path / "record.json", tmp_path / "table.md"
    result = call(
        "run", recipe, "--target", "cpu", "--rivals", "eager", "--record", record, "--markdown", table
    )
    assert result.exit_code == 0, result.output
    assert "PyTorch fp32" in result.stdout
    assert "speedup" in result.stdout
    assert "✓ build (1)" in result.stderr
    rows = json.loads(record.read_text())["rows"]
    assert [(row["batch"], row["path"]) for row in rows] == [
        (1, "fx2ait"),
        (1, "eager"),
        (2, "fx2ait"),
        (2, "eager"),
    ]
    assert table.read_text().count("|\n") >= 4
    asked = compiler.options
    assert asked["target"] == "cpu"
    assert asked["precision"] == "fp32"
    assert asked["dynamic_batch"] == (1, 16)
    assert asked["tune_batches"] == (1, 8)
    assert asked["input_names"] == ["row"]
    assert asked["name"] == "tiny"
    assert asked["tune"] is True
    assert compiler.examples[0].shape == (2, 6)


def test_run_as_json_is_nothing_but_json(compiler: Pretence, recipe: Path) -> None:
    result = call("run", recipe, "--target", "cpu", "--rivals", "none", "--json", "--batch", "3")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    value = json.loads(result.stdout)
    assert value["verification"]["engine"]["relative_l2"] < 1e-5
    assert [row["batch"] for row in value["benchmark"]["rows"]] == [3]
    assert compiler.options["dynamic_batch"] is None
    assert compiler.examples[0].shape == (3, 6)


def test_options_win_over_the_recipe(compiler: Pretence, recipe: Path, tmp_path: Path) -> None:
    result = call(
        *("compile", recipe, "--target", "cpu", "--precision", "bf16", "--batch", "2,4", "--no-tune"),
        *("--arch", "x86-64-v3", "--threads", "1", "--cache-dir", tmp_path / "cache"),
        *("--no-plugin", "pooling"),
        *("--dump-ir", tmp_path / "ir", "--set", "name=other", "-o", tmp_path / "x.fx2ait", "--json"),
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["engine"] == str(tmp_path / "x.fx2ait")
    asked = compiler.options
    assert asked["precision"] == "bf16"
    assert asked["dynamic_batch"] == (2, 4)
    assert asked["tune_batches"] == (2, 4)
    assert asked["tune"] is False
    assert asked["arch"] == "x86-64-v3"
    assert asked["name"] == "other"
    assert asked["dump_ir"] == tmp_path / "ir"
    settings = asked["settings"]
    assert settings.threads == 1
    assert settings.cache_dir == tmp_path / "cache"
    assert "pooling" in settings.disabled_plugins


def test_a_wrong_engine_ends_with_code_2(compiler: Pretence, recipe: Path) -> None:
    compiler.damage = 0.1
    result = call("verify", recipe, "--target", "cpu")
    assert result.exit_code == 2
    assert "relative L2 error" in result.stderr
    assert "PyTorch fp32" in result.stdout
    result = call("run", recipe, "--target", "cpu")
    assert result.exit_code == 2
    assert "differs from the model" in result.stderr
    assert "speedup" not in result.stdout


def test_times_of_a_wrong_engine_are_told_to_be_no_result(compiler: Pretence, recipe: Path) -> None:
    words = ("benchmark", recipe, "--target", "cpu", "--rivals", "none", "--batch", "1,2")
    assert "no result" not in call(*words).stdout
    compiler.damage = 0.1
    result = call(*words, "--json")
    assert result.exit_code == 0
    (note,) = [note for note in json.loads(result.stdout)["notes"] if "no result" in note]
    assert "by more than 1.0e-03 relative L2 at batch 1, 2" in note


def test_errors_are_one_message_and_interruption_has_its_code(compiler: Pretence, recipe: Path) -> None:
    compiler.fault = BuildError("g++ said [no]\n  in line 3")
    result = call("compile", recipe, "--target", "cpu")
    assert result.exit_code == 2
    assert "error: g++ said [no]\n  in line 3\n" in result.stderr
    assert "Traceback" not in result.output
    compiler.fault = KeyboardInterrupt()
    assert call("compile", recipe, "--target", "cpu").exit_code == 130


def test_bugs_keep_their_traceback(compiler: Pretence, recipe: Path) -> None:
    compiler.fault = ZeroDivisionError("a bug")
    result = call("compile", recipe, "--target", "cpu")
    assert isinstance(result.exception, ZeroDivisionError)


def test_a_library_for_another_machine_is_saved_but_not_run(
    compiler: Pretence, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Library:
        def __init__(self) -> None:
            self.manifest = {"target": {"name": "cuda", "arch": "sm_90a"}}

        def save(self, path: Path) -> Path:
            path.write_bytes(b"library")
            return path

    asked: dict[str, Any] = {}

    def compile(model: Any, examples: Any, **options: Any) -> Library:
        asked.update(options)
        return Library()

    monkeypatch.setattr(fx2ait_core.compiler, "compile", compile)
    assert call("compile", recipe, "--arch", "sm_90a", "-o", tmp_path / "e").exit_code == 0
    assert asked["target"] == "cuda"
    assert asked["precision"] == "fp16"


@pytest.mark.parametrize("command", ["run", "verify", "benchmark"])
def test_what_cannot_run_here_is_said_before_anything_is_compiled(
    compiler: Pretence, recipe: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_device() -> None:
        raise NoDevice("no driver; install one")

    monkeypatch.setattr("fx2ait_core.target.cuda.backend.first_device", no_device)
    result = call(command, recipe, "--arch", "sm_90a")
    assert result.exit_code == 2
    assert "cuda sm_90a cannot run on this machine (no driver; install one)" in result.stderr
    assert "use `fx2ait compile` to build the file" in result.stderr
    assert not compiler.options
    assert "model" not in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--target", "tpu"], "no plugin brings a target 'tpu'"),
        (["--target", "cpu", "--arch", "z80"], "z80"),
        (["--arch", "sm_70"], "cuda has no architecture 'sm_70'"),
    ],
)
def test_a_machine_that_does_not_exist_is_refused_at_once(
    compiler: Pretence, recipe: Path, words: list[str], expected: str
) -> None:
    result = call("compile", recipe, *words)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert not compiler.options
    assert "model" not in result.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "resnet18x"], "no recipe called resnet18x"),
        (["run", "absent.yaml"], "no such recipe file"),
        (["run", "RECIPE", "--batch", "x"], "--batch 'x' is not accepted; write 8, 1..64 or 1,8,32"),
        (["run", "RECIPE", "--set", "verify.sample=1"], "did you mean 'samples'"),
        (["run", "RECIPE", "--set", "inputs=[{name: row, shape: [3, 6]}]"], "'dynamic' occurs in no input"),
        (["benchmark", "RECIPE", "--target", "cpu", "--rivals", "eagr"], "known: eager, eager_channels_last"),
        (["run", "RECIPE", "--target", "cpu", "--peaks", "hoped"], "hoped is none of target, measured"),
        (["run", "RECIPE", "--target", "cpu", "--plot", "x.doc"], "x.doc: no plot is written"),
        (["run", "RECIPE", "--target", "cpu", "--record", "no/x.json"], "there is no folder no"),
        (["benchmark", "RECIPE", "--target", "cpu", "--markdown", "."], ". is a folder; name a file"),
        (["compile", "RECIPE", "--target", "cpu", "-o", "no/x.fx2ait"], "there is no folder no"),
        (["inspect", "RECIPE"], "no engine file"),
        (["inspect", "absent.fx2ait"], "absent.fx2ait"),
        (["verify", "RECIPE", "--target", "cpu", "--engine", "RECIPE"], "no engine file"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_message(
    compiler: Pretence, recipe: Path, words: list[str], expected: str
) -> None:
    result = call(*(recipe if word == "RECIPE" else word for word in words))
    assert result.exit_code == 2, result.output
    assert expected in result.stderr
    assert "Traceback" not in result.output
    assert not compiler.options or words[0] == "verify", "and before anything is compiled"


def test_a_report_that_cannot_be_written_is_shown_all_the_same(
    compiler: Pretence, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: Any, **__: Any) -> None:
        path.touch()
        raise OSError(28, "No space left on device")

    (tmp_path / "old.md").write_text("old")
    monkeypatch.setattr(Path, "write_text", full)
    words = ("benchmark", recipe, "--target", "cpu", "--rivals", "none", "--markdown", tmp_path / "old.md")
    result = call(*words)
    assert result.exit_code == 2
    assert "fx2ait (ms)" in result.stdout
    assert "old.md cannot be written: No space left on device" in result.stderr
    assert (tmp_path / "old.md").read_text() == "old"
    assert not list(tmp_path.glob(".old*")), "nothing half-written is left"


def test_reports_are_written_to_pipes_and_devices_as_they_are(compiler: Pretence, recipe: Path) -> None:
    words = ("benchmark", recipe, "--target", "cpu", "--rivals", "none", "--markdown", "/dev/null")
    assert call(*words).exit_code == 0
    assert Path("/dev/null").is_char_device()


def test_an_engine_of_another_model_is_refused(
    compiler: Pretence, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = PretendedEngine(torch.nn.Linear(6, 4), 1, 4)
    monkeypatch.setattr(fx2ait_core.compiler, "load", lambda file, settings: other)
    words = ("--target", "cpu", "--engine", tmp_path / "e.fx2ait")
    assert call("verify", recipe, *words, "--set", "verify.max_relative_error=9").exit_code == 0
    other.manifest["inputs"][0]["shape"] = ["batch", 7]  # type: ignore[index]
    for name in ("verify", "benchmark"):
        result = call(name, recipe, *words)
        assert result.exit_code == 2
        assert "engine of tiny, which takes row: [batch, 7]; the recipe tiny describes" in result.stderr


def test_an_architecture_wins_over_the_recipes_target(compiler: Pretence, recipe: Path) -> None:
    recipe.write_text(RECIPE + "target: cpu\n")
    assert call("compile", recipe, "--arch", "sm_90a", "-o", recipe.parent / "x").exit_code == 0
    assert compiler.options["target"] == "cuda"


def test_a_recipe_may_not_have_two_dynamic_dimensions_yet(compiler: Pretence, recipe: Path) -> None:
    text = RECIPE.replace("[batch, 6]", "[batch, n]").replace("dynamic: {", "dynamic: {n: {max: 9}, ")
    recipe.write_text(text)
    result = call("run", recipe, "--target", "cpu")
    assert result.exit_code == 2
    assert "batch at axis 0, n at axis 1" in result.stderr


def test_the_batch_option() -> None:
    assert BatchChoice.parse("8") == BatchChoice(8, 8, (8,))
    assert BatchChoice.parse("1..64") == BatchChoice(1, 64)
    assert BatchChoice.parse(" 8, 1,8 ") == BatchChoice(1, 8, (1, 8))
    for wrong in ("", "0", "8..1", "1,", "-1", "a..b", "1;2"):
        with pytest.raises(SettingsError, match="is not accepted"):
            BatchChoice.parse(wrong)


def test_every_command_explains_itself_with_an_example() -> None:
    for name in ("run", "compile", "verify", "benchmark", "plugins", "recipes", "inspect", "doctor"):
        result = call(name, "--help")
        assert result.exit_code == 0
        assert f"fx2ait {name}" in result.stdout
        assert "Example" in result.stdout
        assert "--json" in result.stdout
    assert "doctor" in call().output
    assert call("--version").stdout.startswith("fx2ait ")
    assert call("no-such-command").exit_code == 2


def test_the_rivals_that_can_be_named_are_listed() -> None:
    words = " ".join(CliRunner().invoke(application(Settings()), ["run", "--help"]).stdout.split())
    for target in ("cuda", "cpu"):
        names = ", ".join(dict.fromkeys(rival.path for rival in usual_rivals(target)))
        assert f"on {target} {names}" in words.replace("│ ", "").replace(" │", "")


def test_what_a_model_prints_stays_off_standard_output(
    compiler: Pretence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "chatty_model.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Linear):\n"
        "    def forward(self, x):\n"
        "        print('called')\n"
        "        return super().forward(x)\n"
        "def make():\n"
        "    print('made')\n"
        "    return Net(6, 4)\n"
    )
    (tmp_path / "chatty.yaml").write_text(
        RECIPE.replace("torch.nn:Linear", "chatty_model:make").replace("kwargs", "# kwargs")
    )
    monkeypatch.chdir(tmp_path)
    for words in (("run", "--rivals", "none"), ("compile",), ("verify",), ("benchmark", "--rivals", "none")):
        result = CliRunner().invoke(application(Settings()), [words[0], "chatty.yaml", *words[1:], "--json"])
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout), words
        assert "made" in result.stderr
