"""What the scripts share: compile a recipe, then verify, time and check it, section by section."""

from __future__ import annotations

import re
import shlex
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from record import OtherCommitError, Record, layers_beside
from summary import DIFFERENCES, write_summary
from wishes import Wishes

if TYPE_CHECKING:  # the checkout must be on the path before fx2ait_core is imported
    import torch

    from fx2ait_core.bench.rivals import Contender
    from fx2ait_core.bench.roofline import Peaks
    from fx2ait_core.recipes.schema import Recipe

HOST_TIME_BATCHES = 2
"""Host time is measured at so many of the smallest batches."""
BURSTS_TOGETHER = 20
TOGETHER_S = 20.0
"""Two engines at once are run about so long at most, in at least two bursts."""
PROCESSES = 3
"""Processes that load and run the engine, one right after another."""


def measure(wish: Wishes) -> int:
    """Measure every model, write records and a summary for each; the number of models of which something
    failed."""
    from fx2ait_core.errors import Fx2aitError  # noqa: PLC0415

    failed = 0
    for name in wish.models:
        try:
            failed += not Run(name, wish).all_sections()
        except (Fx2aitError, OtherCommitError) as error:
            print(f"{name} FAILED: {error}", file=sys.stderr)
            failed += 1
    return failed


class Run:
    """One model: what is compiled of it, and the records that are filled."""

    def __init__(self, name: str, wish: Wishes) -> None:
        import torch  # noqa: PLC0415

        import fx2ait_core as fx2ait  # noqa: PLC0415
        from fx2ait_core.bench.environment import environment  # noqa: PLC0415
        from fx2ait_core.recipes.find import find_recipe  # noqa: PLC0415
        from fx2ait_core.recipes.instantiate import instantiate  # noqa: PLC0415
        from fx2ait_core.recipes.loader import load_recipe  # noqa: PLC0415

        self.wish = wish
        self.settings = fx2ait.Settings.from_environment(threads=wish.threads)
        path = find_recipe(name, fx2ait.plugins(settings=self.settings).registry.recipe_folders)
        self.recipe: Recipe = load_recipe(path)
        self.name = self.recipe.name
        self.model: torch.nn.Module = instantiate(self.recipe, path.parent)
        self.device = torch.device(wish.target)
        here = environment(self.device)
        path = wish.out / f"{slug(here.card)}-{self.name}.json"
        self.record = Record(path, wish.update)
        self.layers = Record(layers_beside(path), wish.update)
        for record in (self.record, self.layers):
            record.filled_by(shlex.join(["python", *sys.argv]), wish.commit or here.commit)
        self.peaks: Peaks | None = None

    def all_sections(self) -> bool:
        """Compile, then do what is wished; whether all went well."""
        if not self.record.section("compile", self._compile):
            return False
        self.others: list[Contender] = []
        if "benchmark" in self.wish.sections:
            for arch in self.wish.other_archs:
                self.record.section(f"compile {arch}", partial(self._compile_other, arch, None))
            for precision in self.wish.other_precisions:
                self.record.section(f"compile {precision}", partial(self._compile_other, None, precision))
        sections: dict[str, tuple[Record, Callable[[int], None]]] = {
            "verify": (self.record, lambda batch: self._verify()),
            "benchmark": (self.record, self._benchmark),
            "layers": (self.layers, self._layers),
            "host": (self.record, self._host),
            "memory": (self.record, self._memory),
            "trust": (self.record, self._trust),
            "processes": (self.record, lambda batch: self._processes()),
        }
        for name, (record, work) in sections.items():
            if name not in self.wish.sections:
                continue
            for batch in self._batches_of(name):
                title = name if batch == 0 else f"{name} at batch {batch}"
                record.section(title, partial(work, batch))
        print(write_summary(self.record.path, self.record.data, self.layers.data))
        return not {**self.record.data["failures"], **self.layers.data.get("failures", {})}

    def _batches_of(self, section: str) -> tuple[int, ...]:
        if section in ("verify", "processes"):
            return (0,)  # at sizes of their own, or at all of them
        return self.wish.batches[:HOST_TIME_BATCHES] if section == "host" else self.wish.batches

    # ---- sections ------------------------------------------------------------------------------------

    def _compile(self) -> None:
        started = time.perf_counter()
        self.engine, stages = self._compiled()
        # Where records are updated, the first time may have been one without anything in the caches.
        which = "compile_again" if "compile_seconds" in self.record.data else "compile"
        self.record.data[f"{which}_seconds"] = round(time.perf_counter() - started, 2)
        self.record.data[f"{which}_stages"] = {name: round(seconds, 2) for name, seconds in stages.items()}
        self.record.data["memory"] = dict(self.engine.manifest["memory"])

    def _compile_other(self, arch: str | None, precision: str | None) -> None:
        from fx2ait_core.bench.rivals import EngineRival  # noqa: PLC0415

        engine, _ = self._compiled(arch, precision)
        if not callable(engine):
            raise RuntimeError(f"an engine for {arch} does not run on this machine")
        differs = arch or precision or ""
        self.others.append(EngineRival("fx2ait_" + re.sub(r"[^a-z0-9]", "", differs.lower()), engine))

    def _compiled(
        self, arch: str | None = None, precision: str | None = None
    ) -> tuple[Any, dict[str, float]]:
        """An engine, and the seconds that each stage of its compilation took."""
        import fx2ait_core as fx2ait  # noqa: PLC0415
        from fx2ait_core.recipes.instantiate import example_inputs  # noqa: PLC0415
        from fx2ait_core.recipes.schema import for_target  # noqa: PLC0415

        tuned = self.wish.tune_batches
        low, high = tuned[0], tuned[-1]
        with _progress() as progress:
            engine = fx2ait.compile(
                self.model,
                example_inputs(self.recipe, batch=low if low == high else None),
                target=self.wish.target,
                arch=arch,
                precision=precision or for_target(self.recipe.precision, self.wish.target),  # type: ignore[arg-type]
                dynamic_batch=None if low == high else (low, high),
                tune_batches=() if low == high else tuned,
                input_names=[item.name for item in self.recipe.inputs],
                name=self.recipe.name,
                tune=self.wish.tune and arch is None,
                settings=self.settings,
                progress=progress,
            )
        return engine, progress.seconds

    def _verify(self) -> None:
        import fx2ait_core as fx2ait  # noqa: PLC0415
        from fx2ait_core.bench.verify import SHORT_NAMES, Limits, engine_precision  # noqa: PLC0415
        from fx2ait_core.report.plain import plain  # noqa: PLC0415

        precision = SHORT_NAMES[engine_precision(self.engine.manifest)]
        limits = Limits(self.recipe.verify.relative_limit(self.wish.target, precision))
        report = fx2ait.verify(self.engine, self.model, samples=self.recipe.verify.samples, limits=limits)
        self.record.data["verification"] = plain(report)
        report.raise_if_failed()

    def _benchmark(self, batch: int) -> None:
        import fx2ait_core as fx2ait  # noqa: PLC0415
        from fx2ait_core.report.plain import benchmark_record  # noqa: PLC0415

        with _progress() as progress:
            report = fx2ait.benchmark(
                self.engine,
                self.model,
                [batch],
                [*self._rivals(), *self.others],
                rounds=self.wish.rounds,
                threads=self._torch_threads(),
                progress=progress,
            )
        made = benchmark_record(report, self.record.data["command"])
        rows, notes, contention = made.pop("rows"), made.pop("notes"), made.pop("contention")
        for row in rows:
            row["contention"] = contention
        self.record.data.update(self._with_commit(made))
        self.record.data["notes"] = list(dict.fromkeys([*self.record.data.get("notes", []), *notes]))
        self.record.put_rows("rows", rows)
        told = [row["contention"] for row in self.record.data["rows"] if row.get("contention") is not None]
        self.record.data["contention"] = max(told, default=None)

    def _layers(self, batch: int) -> None:
        import fx2ait_core as fx2ait  # noqa: PLC0415
        from fx2ait_core.bench.layers import measured_peaks_of, peaks_of  # noqa: PLC0415
        from fx2ait_core.report.layers import layers_record  # noqa: PLC0415
        from fx2ait_core.report.plain import plain  # noqa: PLC0415

        threads = self._torch_threads()
        if self.peaks is None:
            self.peaks = peaks_of(self.engine.manifest, threads)
        report = fx2ait.layers(self.engine, [batch], self.peaks, rounds=self.wish.rounds)
        made = layers_record(report, self.layers.data["command"])
        batches = made.pop("batches")
        self.layers.data.update(self._with_commit(made))
        self.layers.put_rows("batches", batches)
        if report.peaks.source == "documented" and "measured_peaks" not in self.layers.data:
            self.layers.data["measured_peaks"] = plain(measured_peaks_of(self.engine.manifest, threads))

    def _host(self, batch: int) -> None:
        from fx2ait_core.bench.host import host_time  # noqa: PLC0415
        from fx2ait_core.report.plain import plain  # noqa: PLC0415

        told = host_time(self.engine, self._inputs(batch))
        row = {"batch": batch, **plain(told), "beyond_us": told.beyond_us}
        self.record.put_rows("host_time", [row])

    def _memory(self, batch: int) -> None:
        from fx2ait_core.bench.memory import engine_bytes, torch_bytes  # noqa: PLC0415

        row: dict[str, Any] = {"batch": batch, "fx2ait": engine_bytes(self.engine.manifest, batch)}
        self.record.put_rows("activation_bytes", [row])
        if self.device.type == "cuda":  # PyTorch accounts for the GPU's memory only
            for rival in self._rivals():
                name = f"{rival.path} {rival.compile_mode}" if rival.compile_mode else rival.path
                row[name] = torch_bytes(rival, self.model, self._inputs(batch))

    def _trust(self, batch: int) -> None:
        from fx2ait_core.bench.trust import (  # noqa: PLC0415
            BURST,
            differing_on_filled_memory,
            differing_repeats,
            differing_together,
        )

        given = self._inputs(batch)
        row: dict[str, Any] = {"batch": batch, "repetitions": self.wish.repeats}
        self.record.put_rows("differing_runs", [row])
        started = time.perf_counter()
        row["repeated"] = differing_repeats(self.engine, given, self.wish.repeats)
        once = (time.perf_counter() - started) / (self.wish.repeats + 1)
        row["on_filled_memory"] = differing_on_filled_memory(self.engine, given)
        twins = [self.engine, self.engine.twin()]
        bursts = max(2, min(BURSTS_TOGETHER, int(TOGETHER_S / (len(twins) * BURST * once))))
        row["two_at_once"] = differing_together(twins, [given, self._inputs(batch)], bursts)
        wrong = {name: row[name] for name in DIFFERENCES if row[name]}
        if wrong:
            raise AssertionError(f"runs that differ from the first: {wrong}")

    def _processes(self) -> None:
        import fx2ait_core as fx2ait  # noqa: PLC0415
        from fx2ait_core.bench.trust import differing_after_another_process  # noqa: PLC0415

        with tempfile.TemporaryDirectory() as folder:
            path = self.engine.save(Path(folder) / f"{self.name}.fx2ait")
            inputs = [self._inputs(batch) for batch in self.wish.batches]
            differing = differing_after_another_process(fx2ait.load, path, inputs, PROCESSES)
        self.record.data["differing_after_another_process"] = {
            "processes": PROCESSES, "batches": list(self.wish.batches), "differing": differing,
        }  # fmt: skip
        if differing:
            raise AssertionError(f"{differing} answers differ from those of the first process")

    # ---- parts ---------------------------------------------------------------------------------------

    def _rivals(self) -> tuple[Contender, ...]:
        from fx2ait_core.bench.rivals import usual_rivals  # noqa: PLC0415

        found = usual_rivals(self.wish.target, self.wish.compile_modes)
        if self.wish.rivals is None:
            return found
        return tuple(rival for rival in found if rival.path in self.wish.rivals)

    def _inputs(self, batch: int) -> tuple[torch.Tensor, ...]:
        from fx2ait_core.bench.accuracy import converted  # noqa: PLC0415
        from fx2ait_core.bench.benchmark import inputs_at  # noqa: PLC0415
        from fx2ait_core.bench.verify import engine_precision  # noqa: PLC0415

        manifest = self.engine.manifest
        return converted(inputs_at(manifest, batch), engine_precision(manifest), self.engine.device)

    def _torch_threads(self) -> int | None:
        return self.settings.threads if self.wish.target == "cpu" else None

    def _with_commit(self, record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "commit": self.wish.commit or record["commit"]}


def _progress() -> Any:
    from rich.console import Console  # noqa: PLC0415

    from fx2ait_core.report.progress import TerminalProgress  # noqa: PLC0415

    return TerminalProgress(Console(stderr=True, highlight=False))


def slug(card: str) -> str:
    """The card's name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", card.lower().replace("(r)", "").replace("nvidia", "")).strip("-")
