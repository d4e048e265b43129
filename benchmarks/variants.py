"""Engines of one model which together use every variant that kernels offer for it, at any batch size."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

SIZES = (1, 8, 32, 256, 4096)
"""Batch sizes whose candidates count: what a kernel offers depends on the size, what it computes does not."""


class Variants:
    """Engines for ``model``, run at small batches, whose kernels are chosen to be different ones.

    A variant is a kernel's configuration in words, without its numbers: which parts work together, not how
    large they are.

    :param shape: of the input, without the batch.
    :param arch: of a card that is not here; None for the GPU at hand.
    """

    batches = (1, 3)

    def __init__(self, model: nn.Module, shape: tuple[int, ...], precision: str, arch: str | None) -> None:
        self.model, self.shape, self.used = model, shape, set[str]()
        self._precision, self._arch = precision, arch

    def engines(self) -> Iterator[Any]:
        """Compiled engines, until nothing new is offered."""
        from fx2ait_core.build.library import build  # noqa: PLC0415  # the checkout must be on the path first
        from fx2ait_core.compiler import tree_manifest  # noqa: PLC0415
        from fx2ait_core.runtime.engine import Engine  # noqa: PLC0415
        from fx2ait_core.settings import Settings  # noqa: PLC0415

        settings = Settings.from_environment()
        for machine, tree, structure in self._emitted():
            built = build(tree, machine.backend, machine.target, settings)
            manifest = {**tree_manifest(tree), "output_structure": structure}
            yield Engine(built.path, manifest, settings, None)

    def trees(self) -> Iterator[Any]:
        """Their source trees."""
        return (tree for _, tree, _ in self._emitted())

    def _emitted(self) -> Iterator[tuple[Any, Any, Any]]:
        from fx2ait_core import compiler  # noqa: PLC0415
        from fx2ait_core.capture import BATCH  # noqa: PLC0415
        from fx2ait_core.emit.emit import emit  # noqa: PLC0415
        from fx2ait_core.plan.planner import plan  # noqa: PLC0415
        from fx2ait_core.report.progress import SilentProgress  # noqa: PLC0415
        from fx2ait_core.settings import Settings  # noqa: PLC0415

        progress, largest = SilentProgress(), self.batches[-1]
        machine = compiler.choose_machine("cuda", self._arch, self._precision, Settings.from_environment())
        example = torch.randn(largest, *self.shape)
        captured = compiler.capture_model(self.model, example, (1, largest), None, "variants", progress)
        while True:
            graph = compiler.lower_program(captured, machine, None, progress)
            before = len(self.used)
            planned = plan(
                graph,
                machine.target,
                machine.plugins.registry,
                lambda requests: [self._choice(*request, machine.plugins.registry) for request in requests],
                precision=machine.precision.value,
                tune_sizes=[{BATCH: largest}],
                plugins=machine.plugins.versions,
            )
            if len(self.used) == before:
                return
            yield machine, emit(planned, machine.backend), captured.output_structure

    def _choice(self, problem: Any, offers: Sequence[Any], registry: Any) -> Any:
        from fx2ait_core.plan.problems import offers_for  # noqa: PLC0415

        for size in SIZES:
            sized = replace(problem, sizes=tuple((name, size) for name, _ in problem.sizes))
            for offer in offers_for(sized, registry, problem.kind):
                if (variant := _variant(offer)) not in self.used:
                    self.used.add(variant)
                    return offer.choice(offer.candidate.estimate_us, "heuristic")
        return offers[0].choice(offers[0].candidate.estimate_us, "heuristic")


def _variant(offer: Any) -> str:
    return f"{offer.kernel.name}: {re.sub(r'[0-9]+', '#', str(offer.candidate.config))}"
