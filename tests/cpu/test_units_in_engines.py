"""Engines whose kernels are compiled together: built by the core and by hand, run, and rebuilt."""

import dataclasses
import json
import shutil
import subprocess
from pathlib import Path

import ninja
import pytest
import torch

from fx2ait_core.build.library import build
from fx2ait_core.emit.emit import emit, library_name
from fx2ait_core.errors import BuildError
from fx2ait_core.extend.contributions import KernelSource
from fx2ait_core.runtime.engine import Engine
from fx2ait_core.settings import Settings

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")

FACTORS = torch.tensor([2.0, 3.0, 5.0])
OWN = """
namespace {{
struct Epilogue {{ static constexpr int number = {}; }};
constexpr int kOwn = Epilogue::number;
}}
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return Settings(cache_dir=tmp_path_factory.mktemp("cache"), threads=2)


def one_family(plan, *bodies):
    """The plan with kernels of one family, each with names of its own that the other has too."""
    kernels = []
    for kernel, body in zip(plan.kernels, bodies or ("1", "2"), strict=True):
        text = kernel.source.text.replace('\nextern "C"', OWN.format(body) + '\nextern "C"')
        source = KernelSource(text, workspace=kernel.source.workspace)
        kernels.append(dataclasses.replace(kernel, kernel="plain", source=source))
    return dataclasses.replace(plan, kernels=tuple(kernels))


def engine(tree, library, settings):
    return Engine(library.path, json.loads(tree["manifest.json"]), settings, library.sources)


def test_kernels_of_one_family_share_a_compiler_call_and_compute_the_same(plan_of, cpu_target, settings):
    backend, target = cpu_target
    apart, together = emit(plan_of(target), backend), emit(one_family(plan_of(target)), backend)
    unit = together.text("units/plain.cpp")
    assert '#include "../kernels/scale_kernel.cpp"' in unit
    assert '#include "../kernels/increment_kernel.cpp"' in unit
    assert not any(path.startswith("units/") for path in apart)
    image = torch.randn(5, 3)
    built = [build(tree, backend, target, settings) for tree in (apart, together)]
    assert built[1].compiled + built[1].reused == built[0].compiled + built[0].reused - 1
    for tree, library in zip((apart, together), built, strict=True):
        torch.testing.assert_close(engine(tree, library, settings)(image), image * FACTORS + 1)


def test_a_change_in_a_kernel_compiles_its_unit_alone(plan_of, cpu_target, settings):
    backend, target = cpu_target
    build(emit(one_family(plan_of(target)), backend), backend, target, settings)
    changed = build(emit(one_family(plan_of(target), "1", "3"), backend), backend, target, settings)
    assert changed.compiled == 1


def test_an_error_in_a_unit_names_the_kernel_s_file(plan_of, cpu_target, settings):
    backend, target = cpu_target
    tree = emit(one_family(plan_of(target), "1", "nothing"), backend)
    with pytest.raises(BuildError, match=r"kernels/increment_kernel\.cpp:\d+:\d+: error: 'nothing'"):
        build(tree, backend, target, settings)


def test_build_ninja_builds_units_by_hand(plan_of, cpu_target, tmp_path):
    backend, target = cpu_target
    plan = one_family(plan_of(target))
    tree = emit(plan, backend)
    rules = tree.text("build.ninja")
    assert "compile units/plain.cpp" in rules and "compile kernels/" not in rules
    tree.write(tmp_path / "tree")
    command = [Path(ninja.BIN_DIR) / "ninja"]
    done = subprocess.run(command, cwd=tmp_path / "tree", capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "warning" not in done.stdout, done.stdout
    assert (tmp_path / "tree" / f"{library_name(plan.name)}.so").is_file()
    # A changed kernel is noticed through its unit.
    with (tmp_path / "tree/kernels/scale_kernel.cpp").open("a") as file:
        file.write("// changed\n")
    again = subprocess.run(command, cwd=tmp_path / "tree", capture_output=True, text=True, check=False)
    assert "units/plain.cpp" in again.stdout and "model.cpp" not in again.stdout
