"""The command as a user runs it: a process of its own, a real compiler, a small model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

# One worker for all of them, so that they share one cache.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("command line")]

MODEL = """\
import torch


class Net(torch.nn.Module):
    def __init__(self, width):
        super().__init__()
        self.first = torch.nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(width)
        self.second = torch.nn.Conv2d(width, width, 3, padding=1)
        self.head = torch.nn.Linear(width, 7)

    def forward(self, image):
        x = torch.relu(self.norm(self.first(image)))
        x = torch.relu(self.second(x) + x)
        return self.head(torch.nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


class Biased(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(5, 7)

    def forward(self, bias, row):
        return self.head(row).relu() + bias
"""

RECIPE = """\
name: small_net
model: small_net_model:Net
kwargs: {width: 16}
inputs: [{name: image, shape: [batch, 3, 12, 12]}]
dynamic: {batch: {min: 1, max: 4}}
target: cpu
tuning: false
verify: {samples: 6, max_relative_error: 1e-4}
benchmark: {batch: [1, 4], rounds: 2}
"""


BIASED = """\
name: biased
model: small_net_model:Biased
inputs: [{name: bias, shape: [7]}, {name: row, shape: [batch, 5]}]
dynamic: {batch: {min: 1, max: 16}}
target: cpu
tuning: false
verify: {samples: 6, max_relative_error: 1e-4}
benchmark: {batch: [1, 12], rounds: 2}
"""


class Shell:
    """Runs ``fx2ait`` in a folder that holds the model and the recipe, with a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "small_net_model.py").write_text(MODEL)
        (folder / "small_net.yaml").write_text(RECIPE)
        names = ("PATH", "HOME", "LANG", "PYTHONPATH")  # the models are beside the recipes, not on the path
        kept = {name: os.environ[name] for name in names if name in os.environ}
        self.environment = {**kept, "FX2AIT_CACHE_DIR": str(folder / "cache")}

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-c", "from fx2ait_core.cli.entry import main; main()", *words]

    def __call__(self, *words: str, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        finished = subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert finished.returncode == code, finished.stdout + finished.stderr
        assert "Traceback" not in finished.stderr, finished.stderr
        return finished


@pytest.fixture(scope="module")
def fx2ait(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("user"))


def test_a_recipe_is_run_and_the_second_time_from_the_caches(fx2ait: Shell) -> None:
    value = json.loads(fx2ait("run", "small_net.yaml", "--rivals", "eager", "--json").stdout)
    assert value["target"]["name"] == "cpu"
    assert value["verification"]["engine"]["relative_l2"] < 1e-5
    rows = value["benchmark"]["rows"]
    assert [(row["batch"], row["path"]) for row in rows] == [
        (1, "fx2ait"),
        (1, "eager"),
        (4, "fx2ait"),
        (4, "eager"),
    ]
    assert all(row["relative_l2"] < 1e-5 for row in rows)
    again = fx2ait("run", "small_net.yaml", "--rivals", "none", "--plot", "speed.png", "--markdown", "t.md")
    assert "speedup" not in again.stdout
    assert "✓ capture" in again.stderr
    assert "✓ build" not in again.stderr  # the whole compilation is remembered
    assert (fx2ait.folder / "speed.png").stat().st_size > 1000
    assert (fx2ait.folder / "t.md").read_text().startswith("small_net, fp32")


def test_an_input_without_a_batch_keeps_its_shape(fx2ait: Shell) -> None:
    (fx2ait.folder / "biased.yaml").write_text(BIASED)
    value = json.loads(fx2ait("run", "biased.yaml", "--rivals", "eager", "--json").stdout)
    assert value["verification"]["samples"] == 6
    assert [row["batch"] for row in value["benchmark"]["rows"]] == [1, 1, 12, 12]
    assert all(row["relative_l2"] < 1e-5 for row in value["benchmark"]["rows"])


def test_layers_are_timed_beside_their_floors(fx2ait: Shell) -> None:
    words = ("benchmark", "small_net.yaml", "--rivals", "none", "--layers", "--batch", "4")
    value = json.loads(fx2ait(*words, "--json").stdout)
    (at,) = value["layers"]["batches"]
    assert at["batch"] == 4
    assert at["layers"][0]["flops"] == 4 * 2 * 16 * 12 * 12 * 27
    assert value["layers"]["peaks"]["source"] == "measured"
    shown = fx2ait(*words, "--markdown", "layers.md")
    assert "bound by" in shown.stdout
    assert "states no peaks" in shown.stdout
    assert "| whole |" in (fx2ait.folder / "layers.md").read_text()
    wrong = fx2ait(*words, "--peaks", "hoped", code=2)
    assert "hoped is none of target, measured" in wrong.stderr


def test_an_engine_file_is_made_inspected_and_verified(fx2ait: Shell) -> None:
    made = fx2ait("compile", "small_net.yaml", "-o", "net.fx2ait", FX2AIT_KEEP_SOURCES="1")
    assert "net.fx2ait" in made.stdout
    shown = fx2ait("inspect", "net.fx2ait", "--launches", "--sources", "sources").stdout
    assert "small_net" in shown
    assert "image" in shown
    assert "lower bound" in shown
    assert list((fx2ait.folder / "sources").rglob("*.cpp"))
    manifest = json.loads(fx2ait("inspect", "net.fx2ait", "--json").stdout)
    assert manifest["engine"]["symbols"] == {"batch": {"min": 1, "max": 4}}
    report = json.loads(fx2ait("verify", "small_net.yaml", "--engine", "net.fx2ait", "--json").stdout)
    assert report["samples"] >= 6
    assert not report["violations"]
    # a negative control: the engine of other weights
    wrong = fx2ait("verify", "small_net.yaml", "--engine", "net.fx2ait", "--set", "seed=5", code=2)
    assert "relative L2 error" in wrong.stderr


def test_the_graph_is_dumped_after_each_pass(fx2ait: Shell) -> None:
    fx2ait("compile", "small_net.yaml", "-o", "net.fx2ait", "--dump-ir", "ir")
    dumped = sorted((fx2ait.folder / "ir").iterdir())
    assert len(dumped) >= 4
    assert "small_net" in dumped[-1].read_text() or "image" in dumped[-1].read_text()


def test_a_damaged_engine_is_refused(fx2ait: Shell) -> None:
    fx2ait("compile", "small_net.yaml", "-o", "net.fx2ait")
    data = bytearray((fx2ait.folder / "net.fx2ait").read_bytes())
    data[len(data) // 2] ^= 1
    (fx2ait.folder / "altered.fx2ait").write_bytes(data)
    (fx2ait.folder / "short.fx2ait").write_bytes(data[: len(data) // 3])
    for name in ("altered.fx2ait", "short.fx2ait"):
        refused = fx2ait("verify", "small_net.yaml", "--engine", name, code=2)
        assert name in refused.stderr


def test_what_is_wrong_is_one_message_and_code_2(fx2ait: Shell) -> None:
    (fx2ait.folder / "bad.yaml").write_text(RECIPE.replace("samples", "sampels"))
    assert (
        "bad.yaml:8:10: verify.sampels: unknown key; did you mean 'samples'?"
        in fx2ait("run", "bad.yaml", code=2).stderr
    )
    (fx2ait.folder / "gone.yaml").write_text(RECIPE.replace("small_net_model:", "gone_model:"))
    assert "gone_model cannot be imported" in fx2ait("run", "gone.yaml", code=2).stderr
    assert "--batch" in fx2ait("run", "small_net.yaml", "--batch", "many", code=2).stderr
    without = fx2ait("run", "small_net.yaml", "--no-plugin", "conv", code=2).stderr
    assert "aten.conv2d.default" in without or "aten.convolution.default" in without
    assert "No C++ compiler" in fx2ait("compile", "small_net.yaml", code=2, CXX="no-such-compiler").stderr


def test_the_installation_is_described(fx2ait: Shell) -> None:
    rows = json.loads(fx2ait("plugins", "--json", FX2AIT_DISABLE_PLUGINS="pooling").stdout)
    states = {row["name"]: row["status"] for row in rows}
    assert states["pooling"] == "blocked"
    assert states["conv"] == "ok"
    names = [item["name"] for item in json.loads(fx2ait("recipes", "--json").stdout)]
    assert "resnet18" in names
    checks = json.loads(fx2ait("doctor", "--json").stdout)
    assert {check["status"] for check in checks} <= {"ok", "absent"}


def test_a_warning_is_one_line_without_code(fx2ait: Shell) -> None:
    said = fx2ait("plugins", "--no-plugin", "convv").stderr
    told = "warning: disabled_plugins: no plugin is called 'convv', so that none is left out; did you mean"
    assert said.splitlines() == [f"{told} 'conv'?"]


@pytest.mark.parametrize("words", [("plugins",), ("plugins", "--json"), ("recipes", "--schema")])
def test_an_output_that_is_full_is_one_line(fx2ait: Shell, words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            fx2ait.command(*words), env=fx2ait.environment, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 2
    assert done.stderr == b"error: standard output cannot be written: No space left on device\n"


INTERRUPTED_IMPORT = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == "sympy":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from fx2ait_core.cli.entry import main
main()
"""


def test_an_interrupt_before_the_command_starts_is_one_line_too(fx2ait: Shell) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT, "plugins"],
        env=fx2ait.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # it may be ignored here
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")


def test_an_interrupted_build_leaves_caches_that_work(fx2ait: Shell) -> None:
    words = ("compile", "small_net.yaml", "-o", "again.fx2ait", "--set", "kwargs.width=24")
    process = subprocess.Popen(
        fx2ait.command(*words),
        cwd=fx2ait.folder,
        env=fx2ait.environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    for line in process.stderr:  # the stage before the build has ended, so compilers are at work
        if "emit" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(timeout=60) == 130, rest
    fx2ait(*words)
    assert (fx2ait.folder / "again.fx2ait").is_file()
