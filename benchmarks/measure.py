"""What the scripts of this folder share: compile a recipe, verify it, time it, write the record."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checkout import ROOT

RESULTS = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Wanted:
    """What is measured; ``rivals`` None stands for all."""

    target: str
    models: tuple[str, ...]
    batches: tuple[int, ...]
    rounds: int
    compile_modes: tuple[str, ...]
    rivals: tuple[str, ...] | None
    threads: int | None
    tune: bool
    out: Path


def wanted(target: str, description: str, models: str, batches: str, rounds: int) -> Wanted:
    """The command line's wishes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default=models, help="recipes, by commas (default: %(default)s)")
    parser.add_argument("--batches", default=batches, help="batch sizes, by commas (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds (default: %(default)s)")
    parser.add_argument("--compile-modes", default="", help="modes of torch.compile; the fastest is kept")
    parser.add_argument("--rivals", default=None, help="only these paths, by commas, or none")
    parser.add_argument("--threads", type=int, default=None, help="threads, on the cpu")
    parser.add_argument("--no-tune", action="store_true", help="choose kernels by the heuristic")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the records")
    given = parser.parse_args()
    rivals = None if given.rivals is None else tuple(n for n in _list(given.rivals) if n != "none")
    return Wanted(
        target=target,
        models=_list(given.models),
        batches=tuple(sorted({int(size) for size in _list(given.batches)})),
        rounds=given.rounds,
        compile_modes=_list(given.compile_modes),
        rivals=rivals,
        threads=given.threads,
        tune=not given.no_tune,
        out=given.out,
    )


def measure(wish: Wanted) -> int:
    """Measure every model, write a record and a summary for each; the number of models that failed."""
    from fx2ait_core.errors import Fx2aitError  # noqa: PLC0415  # the checkout must be on the path first

    wish.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in wish.models:
        try:
            failed += not _measure_model(name, wish)
        except Fx2aitError as error:
            print(f"{name} FAILED: {error}", file=sys.stderr)
            failed += 1
    return failed


def _measure_model(name: str, wish: Wanted) -> bool:
    from rich.console import Console  # noqa: PLC0415

    import fx2ait_core as fx2ait  # noqa: PLC0415
    from fx2ait_core.bench.rivals import usual_rivals  # noqa: PLC0415
    from fx2ait_core.bench.verify import Limits  # noqa: PLC0415
    from fx2ait_core.recipes.find import find_recipe  # noqa: PLC0415
    from fx2ait_core.recipes.instantiate import example_inputs, instantiate  # noqa: PLC0415
    from fx2ait_core.recipes.loader import load_recipe  # noqa: PLC0415
    from fx2ait_core.recipes.schema import for_target  # noqa: PLC0415
    from fx2ait_core.report.columns import benchmark_cells, verification_cells  # noqa: PLC0415
    from fx2ait_core.report.markdown import markdown  # noqa: PLC0415
    from fx2ait_core.report.plain import benchmark_record, plain, to_json  # noqa: PLC0415
    from fx2ait_core.report.progress import TerminalProgress  # noqa: PLC0415

    settings = fx2ait.Settings.from_environment(threads=wish.threads)
    path = find_recipe(name, fx2ait.plugins(settings=settings).registry.recipe_folders)
    recipe = load_recipe(path)
    model = instantiate(recipe, path.parent)
    rivals = usual_rivals(wish.target, wish.compile_modes)
    if wish.rivals is not None:
        rivals = tuple(rival for rival in rivals if rival.path in wish.rivals)
    low, high = wish.batches[0], wish.batches[-1]
    with TerminalProgress(Console(stderr=True, highlight=False)) as progress:
        started = time.perf_counter()
        engine = fx2ait.compile(
            model,
            example_inputs(recipe, batch=low if low == high else None),
            target=wish.target,
            precision=for_target(recipe.precision, wish.target),
            dynamic_batch=None if low == high else (low, high),
            tune_batches=() if low == high else wish.batches,
            input_names=[item.name for item in recipe.inputs],
            name=recipe.name,
            tune=wish.tune,
            settings=settings,
            progress=progress,
        )
        seconds = time.perf_counter() - started
        progress.stage("verify")
        limits = Limits(for_target(recipe.verify.max_relative_error, wish.target) or 1e-2)
        verification = fx2ait.verify(engine, model, samples=recipe.verify.samples, limits=limits)
        report = fx2ait.benchmark(
            engine,
            model,
            wish.batches,
            rivals,
            rounds=wish.rounds,
            threads=settings.threads if wish.target == "cpu" else None,
            progress=progress,
        )
    record: dict[str, Any] = {
        **benchmark_record(report, shlex.join(["python", *sys.argv])),
        "compile_seconds": round(seconds, 2),
        "verification": plain(verification),
        "memory": plain(engine.manifest["memory"]),
    }
    stem = f"{slug(report.environment.card)}-{name}"
    (wish.out / f"{stem}.json").write_text(json.dumps(record, indent=2) + "\n")
    text = "\n".join(
        [
            f"{name}: compiled in {seconds:.1f} s",
            "",
            markdown(verification_cells(verification)),
            markdown(benchmark_cells(report)),
            *report.notes,
        ]
    )
    (wish.out / f"{stem}.md").write_text(text + "\n")
    print(text)
    if not verification.passed:
        print(f"{name} FAILED: {to_json(verification.violations)}", file=sys.stderr)
    return verification.passed


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def slug(card: str) -> str:
    """The card's name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", card.lower().replace("(r)", "").replace("nvidia", "")).strip("-")
