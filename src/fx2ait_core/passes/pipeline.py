"""The named list of passes, and running it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import SettingsError
from ..extend.contributions import Pass, PassContext
from ..ir.graph import Graph
from ..ir.printer import print_graph
from ..ir.verifier import verify
from .dead_code import remove_dead_code
from .layout import assign_layouts, finish_outputs
from .pointwise import bias_to_epilogue, form_programs, fuse_pointwise
from .precision import assign_precision
from .windows import absorb_windows

CORE_PASSES: tuple[Pass, ...] = (
    Pass("remove_dead_code", remove_dead_code),
    Pass("form_programs", form_programs, after=("remove_dead_code",)),
    Pass("bias_to_epilogue", bias_to_epilogue, after=("form_programs",)),
    Pass("fuse_pointwise", fuse_pointwise, after=("bias_to_epilogue",)),
    Pass("assign_precision", assign_precision, after=("fuse_pointwise",)),
    Pass("assign_layouts", assign_layouts, after=("assign_precision",)),
    Pass("absorb_windows", absorb_windows, after=("assign_layouts",)),
    Pass("finish_outputs", finish_outputs, after=("absorb_windows",)),
)


def run_passes(
    graph: Graph, passes: Sequence[Pass], context: PassContext, *, dump: Path | None = None
) -> Graph:
    """Run ``passes`` in order, verifying after each.

    :param dump: a folder that receives ``00_lower.txt``, ``01_<pass>.txt``, … .

    Raises :class:`~fx2ait_core.errors.IRError` that names the pass after which a rule is broken, and
    :class:`~fx2ait_core.errors.SettingsError` when ``dump`` cannot be written.
    """
    verify(graph, "lowering")
    _dump(graph, dump, 0, "lower")
    for position, item in enumerate(passes, start=1):
        item.run(graph, context)
        verify(graph, item.name)
        _dump(graph, dump, position, item.name)
    return graph


def _dump(graph: Graph, folder: Path | None, position: int, name: str) -> None:
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{position:02}_{name}.txt").write_text(print_graph(graph), encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"the graph cannot be dumped to {folder}: {error.strerror or error}") from error
