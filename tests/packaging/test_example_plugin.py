"""The example plugin as a stranger meets it: built as a wheel, installed beside the core, used, removed."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "fx2ait-mish"

LIST = """
import json
from fx2ait_core.compiler import plugins
print(json.dumps([row.as_dict() for row in plugins().rows]))
"""

USE = """
import torch
import fx2ait_core as fx2ait

torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Conv2d(3, 12, 3), torch.nn.Mish(), torch.nn.ChannelShuffle(3), torch.nn.Mish()
).eval()
x = torch.randn(2, 3, 10, 9)
engine = fx2ait.compile(model, (x,), target="cpu", tune=False)
with torch.no_grad():
    expected = model.double()(x.double())
error = torch.linalg.norm(engine(x) - expected) / torch.linalg.norm(expected)
assert error < 1e-5, error
print(engine.manifest["plugins"])
"""


class Environment:
    """A fresh virtual environment that sees the core and its dependencies, but is installed into alone."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True)
        self.python = folder / "bin" / "python"
        self.cache = folder / "cache"
        own = self.run("import sysconfig; print(sysconfig.get_paths()['purelib'])").strip()
        parent = sysconfig.get_paths()["purelib"]
        # `addsitedir` also reads the `.pth` files there, by which editable distributions are found.
        (Path(own) / "parent.pth").write_text(f"import site; site.addsitedir({parent!r})\n")

    def run(self, code: str) -> str:
        command: list[str | Path] = [self.python, "-c", code]
        environment = {"FX2AIT_CACHE_DIR": str(self.cache), "PATH": "/usr/local/bin:/usr/bin:/bin"}
        finished = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    def pip(self, *words: str | Path) -> None:
        command: list[str | Path] = [sys.executable, "-m", "pip", "--python", self.python, *words, "--quiet"]
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        assert finished.returncode == 0, finished.stderr

    def rows(self) -> dict[str, dict[str, object]]:
        return {row["name"]: row for row in json.loads(self.run(LIST))}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    finished = subprocess.run(
        [*command, "--wheel-dir", folder, EXAMPLE], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    yield Environment(tmp_path_factory.mktemp("fresh") / "venv")


def test_the_wheel_holds_code_templates_and_the_entry_point(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        names = archive.namelist()
        entry_points = next(name for name in names if name.endswith("entry_points.txt"))
        assert "mish = fx2ait_mish" in archive.read(entry_points).decode()
    for kernel in ("channel_shuffle.cpp.jinja", "channel_shuffle.cu.jinja"):
        assert f"fx2ait_mish/kernels/{kernel}" in names


@pytest.mark.slow
def test_install_list_use_uninstall(wheel: Path, environment: Environment) -> None:
    before = environment.rows()
    assert "mish" not in before, "uninstall the example from the environment of the tests"

    environment.pip("install", "--no-deps", "--no-index", wheel)
    found = environment.rows()
    assert set(found) == {*before, "mish"}
    mish = found["mish"]
    assert (mish["status"], mish["distribution"], mish["version"]) == ("ok", "fx2ait-mish", "1.0.0")
    assert mish["contributions"] == {"operators": 2, "converters": 3, "expressions": 1, "kernels": 2}

    assert "fx2ait-mish" in environment.run(USE)

    environment.pip("uninstall", "--yes", "fx2ait-mish")
    assert set(environment.rows()) == set(before)
