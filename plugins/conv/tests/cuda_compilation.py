"""Compiles generated CUDA convolutions, warnings as errors."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import fx2ait_core
from fx2ait_core.sdk import Kernel, Problem

CORE = Path(fx2ait_core.__file__).parent


def compile_kernel(kernel: Kernel, problem: Problem, config: Any, folder: Path) -> str:
    """The assembler's report on the kernel for the problem's architecture."""
    source = kernel.emit("launcher", problem, config)
    for path, text in {**source.headers, "launcher.cu": source.text}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    arch = problem.target.arch
    command = ["nvcc", "-std=c++17", "-O3", "-gencode", f"arch={arch.replace('sm', 'compute')},code={arch}"]
    command += ["-Werror", "all-warnings", "-Xcompiler", "-Wall,-Wextra", "-Xptxas", "-v"]
    command += [f"-I{path}" for path in (folder, CORE / "emit/include", CORE / "target/cuda/include")]
    command += ["-c", str(folder / "launcher.cu"), "-o", str(folder / "launcher.o")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return finished.stderr + finished.stdout


def assert_compiles_tightly(kernel: Kernel, problem: Problem, config: Any, folder: Path) -> None:
    """Nothing spills, and no product waits for the one before it."""
    report = compile_kernel(kernel, problem, config, folder)
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", report)
    assert spills and set(spills) == {("0", "0")}, report
    assert "serialized" not in report, report
