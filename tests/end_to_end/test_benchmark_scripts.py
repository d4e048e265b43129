"""The benchmark scripts as they are run, on the CPU and a small model; the GPU's differs by its options."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("command line")]
SCRIPTS = Path(__file__).parents[2] / "benchmarks"

MODEL = """\
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.head = torch.nn.Linear(16, 7)

    def forward(self, image):
        return self.head(torch.relu(self.first(image)).mean((2, 3)))
"""

RECIPE = """\
name: scripted_net
model: scripted_model:Net
inputs: [{name: image, shape: [batch, 3, 12, 12]}]
dynamic: {batch: {min: 1, max: 4}}
verify: {samples: 4, max_relative_error: 1e-4}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("scripts")
    (made / "scripted_model.py").write_text(MODEL)
    (made / "scripted_net.yaml").write_text(RECIPE)
    return made


def run(folder: Path, script: str, *words: str, code: int = 0) -> str:
    paths = [str(folder), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    variables = {"PYTHONPATH": os.pathsep.join(paths), "FX2AIT_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / script), *words],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_everything_is_measured_and_recorded(folder: Path) -> None:
    common = ["--models", "./scripted_net.yaml", "--rounds", "2", "--no-tune", "--out", "out"]
    words = [*common, "--rivals", "eager", "--other-archs", "x86-64,sparc", "--threads", "2"]
    said = run(folder, "cpu.py", *words, "--batches", "1,4", "--commit", "abc123", code=1)
    assert "cpu has no architecture 'sparc'" in said

    (record,) = (json.loads(p.read_text()) for p in (folder / "out").glob("*-scripted_net.json"))
    assert record["commit"] == "abc123"
    assert list(record["failures"]) == ["compile sparc"], "and nothing else fails because of it"
    assert [(row["batch"], row["path"]) for row in record["rows"]] == [
        (batch, path) for batch in (1, 4) for path in ("fx2ait", "eager", "fx2ait_x8664")
    ]
    assert all(row["relative_l2"] < 1e-5 for row in record["rows"])
    assert record["verification"]["violations"] == []
    assert [row["batch"] for row in record["host_time"]] == [1, 4]
    assert all(row["beyond_us"] > 0 for row in record["host_time"])
    small, large = record["activation_bytes"]
    assert 0 < small["fx2ait"] < large["fx2ait"]
    for row in record["differing_runs"]:
        assert row["repetitions"] == 20
        assert row["repeated"] == row["on_filled_memory"] == row["two_at_once"] == 0

    after = record["differing_after_another_process"]
    assert after == {"processes": 3, "batches": [1, 4], "differing": 0}

    (layers,) = (json.loads(p.read_text()) for p in (folder / "out").glob("*-layers.json"))
    assert [at["batch"] for at in layers["batches"]] == [1, 4]
    nodes = [layer["node"] for layer in layers["batches"][0]["layers"]]
    assert nodes[-1] == "head"
    assert layers["peaks"]["source"] == "measured"
    assert all(at["whole_us"] > 0 and at["floor_us"] > 0 for at in layers["batches"])

    if _has_matplotlib():
        run(folder, "plot.py", "out", "--out", "plots")
        (plot,) = (folder / "plots").glob("*.png")
        assert plot.stat().st_size > 10_000


def test_one_section_at_one_batch_is_added(folder: Path) -> None:
    common = ["--models", "./scripted_net.yaml", "--no-tune", "--out", "added", "--threads", "2"]
    run(folder, "cpu.py", *common, "--batches", "1,4", "--sections", "host")
    later = ["--batches", "2", "--tune-batches", "1,4", "--sections", "host,verify", "--update"]
    run(folder, "cpu.py", *common, *later)
    (record,) = (json.loads(p.read_text()) for p in (folder / "added").glob("*-scripted_net.json"))
    assert [row["batch"] for row in record["host_time"]] == [1, 2, 4]
    assert "rows" not in record
    sizes = [bucket["sizes"] for bucket in record["memory"]["buckets"]]
    assert sizes == [{"batch": 1}, {"batch": 4}], "the same engine as before"
    assert record["verification"]["violations"] == []
    (summary,) = (folder / "added").glob("*-scripted_net.md")
    assert [f"host time at batch {size}:" in summary.read_text() for size in (1, 2, 4)] == [True] * 3


def _has_matplotlib() -> bool:
    try:
        import matplotlib  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True
