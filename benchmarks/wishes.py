"""The command lines of the scripts: what is to be measured."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from checkout import ROOT

RESULTS = ROOT / "benchmarks" / "results"
SECTIONS = ("verify", "benchmark", "layers", "host", "memory", "trust", "processes")


@dataclass(frozen=True)
class Wishes:
    """What is measured; ``rivals`` None stands for all.

    :param tune_batches: the engine is compiled for their range and tuned for them.
    :param other_archs: architectures whose engines are measured beside, as ``fx2ait_<arch>``.
    :param other_precisions: precisions of further engines, measured beside as ``fx2ait_<precision>``.
    :param repeats: runs at each batch size that must equal the first, bit by bit.
    :param update: keep what the records hold of other batches and sections.
    """

    target: str
    models: tuple[str, ...]
    batches: tuple[int, ...]
    tune_batches: tuple[int, ...]
    rounds: int
    compile_modes: tuple[str, ...]
    rivals: tuple[str, ...] | None
    other_archs: tuple[str, ...]
    other_precisions: tuple[str, ...]
    sections: tuple[str, ...]
    repeats: int
    threads: int | None
    tune: bool
    commit: str | None
    update: bool
    out: Path


def wishes(
    target: str,
    description: str,
    *,
    models: str,
    batches: str,
    rounds: int,
    compile_modes: str = "",
    other_archs: str = "",
    other_precisions: str = "",
    repeats: int,
    arguments: Sequence[str] | None = None,
) -> Wishes:
    """The command line's wishes; the keywords are the defaults of its options."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--models", default=models, help="recipes, by commas (default: %(default)s)")
    add("--batches", default=batches, help="batch sizes, by commas (default: %(default)s)")
    add(
        "--tune-batches",
        default="",
        help="sizes that the engine is compiled and tuned for, by commas (default: those of --batches)",
    )
    add("--rounds", type=int, default=rounds, help="interleaved rounds (default: %(default)s)")
    add("--rivals", default=None, help="only these paths, by commas, or none")
    add(
        "--compile-modes",
        default=compile_modes,
        help="modes of torch.compile, by commas; the fastest is kept (default: %(default)s)",
    )
    add(
        "--other-archs",
        default=other_archs,
        help="architectures whose engines are measured beside, by commas, or none (default: %(default)s)",
    )
    add(
        "--other-precisions",
        default=other_precisions,
        help="precisions whose engines are measured beside, by commas, or none (default: %(default)s)",
    )
    add("--sections", default=",".join(SECTIONS), help="what to do, by commas (default: %(default)s)")
    add("--repeats", type=int, default=repeats, help="runs compared bit by bit (default: %(default)s)")
    add("--threads", type=int, default=None, help="threads, on the cpu")
    add("--no-tune", action="store_true", help="choose kernels by the heuristic")
    add("--commit", default=None, help="the commit to record, where there is no .git")
    add("--update", action="store_true", help="keep other batches and sections of existing records")
    add("--out", type=Path, default=RESULTS, help="folder of the records")
    given = parser.parse_args(arguments)
    sections = _list(given.sections)
    if unknown := [name for name in sections if name not in SECTIONS]:
        parser.error(f"--sections: {', '.join(unknown)}: none of {', '.join(SECTIONS)}")
    batches = _sizes(given.batches)
    return Wishes(
        target=target,
        models=_list(given.models),
        batches=batches,
        tune_batches=_sizes(given.tune_batches) or batches,
        rounds=given.rounds,
        compile_modes=_list(given.compile_modes),
        rivals=None if given.rivals is None else _list(given.rivals),
        other_archs=_list(given.other_archs),
        other_precisions=_list(given.other_precisions),
        sections=sections,
        repeats=given.repeats,
        threads=given.threads,
        tune=not given.no_tune,
        commit=given.commit,
        update=given.update,
        out=given.out,
    )


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(size) for size in _list(text)}))


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip() not in ("", "none"))
