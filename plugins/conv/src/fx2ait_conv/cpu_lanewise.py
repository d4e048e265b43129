"""``conv2d_lanewise``: depthwise and narrow grouped convolution on the CPU, vectors across groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from fx2ait_core.sdk import Candidate, Decline, Kernel, KernelSource, Problem, Templates

from .cpu_geometry import Geometry, decline, kernel_label, unused_symbols
from .cpu_machine import LOOP_START_US, MEMORY_BYTES_PER_CYCLE, Machine

TEMPLATES = Templates("fx2ait_conv")
HEADERS = ("cpu/lanewise.h", "cpu/padded_rows.h", "cpu/register_tile.h")
MAX_CANDIDATES = 4


@dataclass(frozen=True)
class LanewiseConfig:
    """How the work is cut.

    A register tile covers ``tile_pixels`` pixels of a row and ``tile_vectors`` vectors of channels
    (one block); an item of work, ``strip_rows`` result rows and ``item_blocks`` blocks.
    """

    tile_pixels: int
    tile_vectors: int
    strip_rows: int
    item_blocks: int


def supports(problem: Problem) -> Decline | None:
    reason = decline(problem)
    if reason is None and Geometry.of(problem).groups == 1:
        return Decline("groups=1 leaves no lanes to run across groups")
    return reason


def buffer_bytes(g: Geometry, config: LanewiseConfig, width: int) -> int:
    """Bytes of one worker's buffer."""
    lanes = config.item_blocks * config.tile_vectors * width
    return g.input_rows(config.strip_rows) * g.padded_columns * g.group_channels * lanes * 4


def candidates(problem: Problem) -> list[Candidate]:
    machine = Machine.of(problem.target)
    best: dict[tuple[int, int], Candidate] = {}
    for config in configurations(Geometry.of(problem), machine):
        candidate = Candidate(config, estimate(problem, config, machine))
        tile = (config.tile_pixels, config.tile_vectors)
        if tile not in best or candidate.estimate_us < best[tile].estimate_us:
            best[tile] = candidate
    return sorted(best.values(), key=lambda c: c.estimate_us)[:MAX_CANDIDATES]


def configurations(g: Geometry, machine: Machine) -> Iterator[LanewiseConfig]:
    vectors_all = ceil(g.results / machine.width)
    for vectors in range(1, min(2, vectors_all) + 1):
        most = min(g.result_width, (machine.registers - 2) // vectors)
        even = ceil(g.result_width / ceil(g.result_width / most))
        total_blocks = ceil(vectors_all / vectors)
        for pixels in sorted({most, even}):
            for rows in sorted({1, *(min(g.result_height, r) for r in (4, 8, 16, 32))}):
                for parts in sorted({min(total_blocks, p) for p in (1, 2, 4, 8, 16, total_blocks)}):
                    yield LanewiseConfig(pixels, vectors, rows, ceil(total_blocks / parts))


def estimate(problem: Problem, config: LanewiseConfig, machine: Machine) -> float:
    """Microseconds: one load per product, and the copy into the buffer."""
    g = Geometry.of(problem)
    batch = problem.size(problem.result.shape[0])
    vectors = config.item_blocks * config.tile_vectors
    total_blocks = ceil(g.results / (config.tile_vectors * machine.width))
    items = batch * ceil(g.result_height / config.strip_rows) * ceil(total_blocks / config.item_blocks)
    tiles = ceil(g.result_width / config.tile_pixels)
    step = max(0.55 * config.tile_pixels * config.tile_vectors, 4)
    register_tiles = min(config.strip_rows, g.result_height) * tiles * config.item_blocks
    compute = register_tiles * (g.taps * step + 4 * config.tile_pixels * config.tile_vectors + 20)
    size = buffer_bytes(g, config, machine.width)
    plain = g.group_channels == g.group_results == 1
    packing = size / 16 if plain else size / 4
    packing += g.input_rows(config.strip_rows) * g.padded_columns * 6
    traffic = size * 3 / MEMORY_BYTES_PER_CYCLE if size > machine.l2_bytes // 2 else 0.0
    traffic += size / 32 if size > machine.l1_bytes // 2 else 0.0
    traffic += vectors * g.taps * machine.width * 4 / MEMORY_BYTES_PER_CYCLE
    return LOOP_START_US + machine.microseconds(machine.share(items) * (compute + packing + traffic))


def pack_weight(array: np.ndarray, block: int) -> np.ndarray:
    """``[O, I/g, kh, kw]`` to ``[block][kh][kw][I/g][lanes of the block]`` float32, zero-filled."""
    results = array.shape[0]
    padded = np.zeros((ceil(results / block) * block, *array.shape[1:]), dtype=np.float32)
    padded[:results] = array
    return np.ascontiguousarray(padded.reshape(-1, block, *array.shape[1:]).transpose(0, 3, 4, 2, 1)).ravel()


def emit(name: str, problem: Problem, config: LanewiseConfig) -> KernelSource:
    g = Geometry.of(problem)
    machine = Machine.of(problem.target)
    text = TEMPLATES.kernel(
        "cpu/conv2d_lanewise.cpp.jinja",
        name,
        problem,
        geometry=g,
        config=config,
        width=machine.width,
        batch=problem.result.shape[0],
        unused_symbols=unused_symbols(problem),
    )
    block = config.tile_vectors * machine.width
    return KernelSource(text, TEMPLATES.headers(*HEADERS), {1: lambda array: pack_weight(array, block)})


LANEWISE = Kernel(
    name="conv2d_lanewise",
    operator="conv.conv2d",
    target="cpu",
    candidates=candidates,
    emit=emit,
    label=lambda problem, config: kernel_label(problem),
    supports=supports,
    external_operands=frozenset({0}),
)
