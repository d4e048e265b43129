"""Where compile time goes: processor seconds of every compiler call, for an engine and for its tuning.

    python benchmarks/compile_time.py [--model resnet18] [--arch sm_90a] [--out DIR]

Needs nvcc, but no GPU: the engine's kernels are those of the best estimates, the candidates those that
would be measured on the card that stands for the architecture. Calls run one after the other, and user
and system time are counted, so that a busy machine disturbs little. Writes DIR/compile-time-<model>.json
with the calls, what headers alone take per family, and how long so many processors as fast as these
would take (list scheduling, in the order of the build).
"""

from __future__ import annotations

import argparse
import heapq
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkout import use_checkout
from record import Record
from wishes import RESULTS

if TYPE_CHECKING:  # the checkout must be on the path before fx2ait_core is imported
    from fx2ait_core.build.library import Recipe
    from fx2ait_core.compiler import Machine
    from fx2ait_core.emit.source_tree import SourceTree
    from fx2ait_core.tune.offers import Job

PROCESSORS = (2, 16)


@dataclass(frozen=True)
class Call:
    """A compiler call: what it compiled, and its processor seconds."""

    source: str
    seconds: float


def makespan(seconds: Iterable[float], processors: int) -> float:
    """How long calls take that are begun in this order, each on the processor that is free first."""
    free = [0.0] * processors
    for needed in seconds:
        heapq.heapreplace(free, free[0] + needed)
    return max(free)


def processor_seconds(command: Sequence[str], folder: Path) -> float:
    """User and system time of a command and of all that it starts."""
    process = subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(command)} fails:\n{said}")
    return used.ru_utime + used.ru_stime


def compiled(trees: Mapping[str, Mapping[str, bytes]], recipe: Recipe) -> list[Call]:
    """Calls for all sources of the trees, equal ones once."""
    from fx2ait_core.build.dependencies import Dependencies  # noqa: PLC0415
    from fx2ait_core.emit.source_tree import SourceTree  # noqa: PLC0415

    calls: list[Call] = []
    seen: set[str] = set()
    for label, tree in trees.items():
        dependencies = Dependencies(tree)
        with tempfile.TemporaryDirectory() as folder:
            root = SourceTree(tree).write(Path(folder) / "tree")
            for source in dependencies.compiled():
                if (digest := dependencies.digest(source)) in seen:
                    continue
                seen.add(digest)
                command = [*recipe.compile(source), "-o", str(Path(folder) / "object.o")]
                calls.append(Call(f"{label}{source}", round(processor_seconds(command, root), 2)))
                print(f"{calls[-1].seconds:6.2f}  {calls[-1].source}", flush=True)
    return calls


def header_calls(tree: SourceTree, recipe: Recipe) -> list[Call]:
    """What the headers of each family take by themselves; the first call is that of an empty source."""
    includes = {"nothing": ""}
    for path in tree:
        if path.startswith("units/"):
            family = re.sub(r"_\d+$", "", Path(path).stem)
            lines = [line for line in tree.text(path).splitlines() if line.startswith("#include")]
            includes.setdefault(family, "\n".join(line for line in lines if "/kernels/" not in line))
    headers = {path: tree[path] for path in tree if path.startswith("include/")}
    trees = {
        f"{family}: ": {**headers, "headers.cu": f"{text}\n".encode()} for family, text in includes.items()
    }
    return compiled(trees, recipe)


def planned(model: str, arch: str, batches: Sequence[int]) -> tuple[SourceTree, list[Job], Machine]:
    """The engine's sources, and the distinct candidates that would be measured for it."""
    import fx2ait_core as fx2ait  # noqa: PLC0415
    from fx2ait_core import compiler  # noqa: PLC0415
    from fx2ait_core.capture import BATCH  # noqa: PLC0415
    from fx2ait_core.emit.emit import emit  # noqa: PLC0415
    from fx2ait_core.plan.planner import plan  # noqa: PLC0415
    from fx2ait_core.recipes.find import find_recipe  # noqa: PLC0415
    from fx2ait_core.recipes.instantiate import example_inputs, instantiate  # noqa: PLC0415
    from fx2ait_core.recipes.loader import load_recipe  # noqa: PLC0415
    from fx2ait_core.report.progress import SilentProgress  # noqa: PLC0415
    from fx2ait_core.runtime.measure import compiled_identity, tuning_device  # noqa: PLC0415
    from fx2ait_core.tune.cache import TuningCache  # noqa: PLC0415
    from fx2ait_core.tune.contest import Contest  # noqa: PLC0415
    from fx2ait_core.tune.selection import pruned, select_all  # noqa: PLC0415

    settings, silent = fx2ait.Settings.from_environment(), SilentProgress()
    path = find_recipe(model, fx2ait.plugins(settings=settings).registry.recipe_folders)
    recipe = load_recipe(path)
    machine = compiler.choose_machine("cuda", arch, None, settings)
    examples, limits = example_inputs(recipe), (min(batches), max(batches))
    captured = compiler.capture_model(
        instantiate(recipe, path.parent), examples, limits, None, recipe.name, silent
    )
    device = tuning_device(machine.backend, machine.target, settings)
    jobs: dict[Any, Job] = {}

    def select(requests: Any) -> Any:
        for problem, offers in requests:
            contest = Contest(problem, pruned(offers, compiler.TUNING), offers)
            contest.prepare(device)
            for job, _ in contest.jobs:
                jobs.setdefault(compiled_identity(job), job)
        return select_all(requests, None, TuningCache(None), device, compiler.TUNING)

    chosen = plan(
        compiler.lower_program(captured, machine, None, silent),
        machine.target,
        machine.plugins.registry,
        select,
        precision=machine.precision.value,
        tune_sizes=[{BATCH: size} for size in batches],
        plugins=machine.plugins.versions,
    )
    return emit(chosen, machine.backend), list(jobs.values()), machine


def summed(calls: Sequence[Call]) -> dict[str, Any]:
    """Calls with their sum, and the time of a machine with few and one with many processors."""
    seconds = [call.seconds for call in calls]
    wall = {str(processors): round(makespan(seconds, processors), 1) for processors in PROCESSORS}
    calls_made = list(map(asdict, calls))
    return {"seconds": round(sum(seconds), 1), "longest": max(seconds), "wall": wall, "calls": calls_made}


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--arch", default="sm_90a")
    parser.add_argument("--batches", default="1,8,16,32,256,512", help="sizes to tune for")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args()

    from fx2ait_core.bench.environment import commit, processor_name  # noqa: PLC0415
    from fx2ait_core.build.library import Recipe  # noqa: PLC0415
    from fx2ait_core.runtime.harness import libraries_of, measured_tree  # noqa: PLC0415
    from fx2ait_core.settings import Settings  # noqa: PLC0415

    batches = [int(size) for size in given.batches.split(",")]
    tree, jobs, machine = planned(given.model, given.arch, batches)
    recipe = Recipe.of(machine.backend, machine.target, Settings.from_environment())
    candidates = {
        f"{number} {jobs[library[0]].offer.kernel.name}: ": measured_tree(
            [jobs[index] for index in library], machine.backend
        )
        for number, library in enumerate(libraries_of(jobs))
    }
    record = Record(given.out / f"compile-time-{given.model}.json")
    record.data = {
        "model": given.model,
        "arch": given.arch,
        "batches": batches,
        "processor": processor_name(),
        "compiler": str(recipe.compiler.version),
        "commit": commit(Path(__file__)),
        "kernels": sum(path.endswith(".cu") and path.startswith("kernels/") for path in tree),
        "candidates": len(jobs),
        "headers": list(map(asdict, header_calls(tree, recipe))),
        "engine": summed(compiled({"": tree}, recipe)),
        "tuning": summed(compiled(candidates, recipe)),
    }
    record.write()


if __name__ == "__main__":
    use_checkout()
    sys.exit(main())
