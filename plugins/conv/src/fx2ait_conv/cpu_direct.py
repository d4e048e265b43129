"""``conv2d_direct``: register-tiled direct convolution on the CPU, for every geometry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np

from fx2ait_core.sdk import Candidate, Kernel, KernelSource, Problem, Templates

from .cpu_geometry import Geometry, decline, kernel_label, unused_symbols
from .cpu_machine import L2_BYTES_PER_CYCLE, LOOP_START_US, MEMORY_BYTES_PER_CYCLE, Machine

TEMPLATES = Templates("fx2ait_conv")
HEADERS = ("cpu/direct.h", "cpu/padded_rows.h", "cpu/register_tile.h")
MAX_CANDIDATES = 6


@dataclass(frozen=True)
class DirectConfig:
    """How the work is cut.

    A register tile covers ``tile_rows`` x ``tile_columns`` pixels and ``tile_vectors`` vectors of
    channels (one block). An item of work covers ``images`` images, ``strip_rows`` result rows of
    each and ``item_blocks`` blocks.
    """

    tile_rows: int
    tile_columns: int
    tile_vectors: int
    images: int
    strip_rows: int
    item_blocks: int


def needs_padding(problem: Problem) -> bool:
    """Whether input rows are copied to a padded buffer, and not read in place."""
    return problem.operands[0].external or any(Geometry.of(problem).padding)


def blocks(geometry: Geometry, config: DirectConfig, width: int) -> int:
    """Blocks of result channels, over all groups."""
    return geometry.groups * ceil(geometry.group_results / (config.tile_vectors * width))


def candidates(problem: Problem) -> list[Candidate]:
    machine = Machine.of(problem.target)
    best: dict[tuple[int, int, int], Candidate] = {}
    for config in configurations(problem, machine):
        candidate = Candidate(config, estimate(problem, config, machine))
        tile = (config.tile_rows, config.tile_columns, config.tile_vectors)
        if tile not in best or candidate.estimate_us < best[tile].estimate_us:
            best[tile] = candidate
    return sorted(best.values(), key=lambda c: c.estimate_us)[:MAX_CANDIDATES]


def configurations(problem: Problem, machine: Machine) -> Iterator[DirectConfig]:
    """All tilings worth predicting."""
    g = Geometry.of(problem)
    batch = problem.size(problem.result.shape[0])
    group_vectors = ceil(g.group_results / machine.width)
    for vectors in range(1, min(4, group_vectors) + 1):
        for rows, columns in tile_shapes(g, machine, vectors):
            whole = ceil(g.result_height / rows) * rows
            strips = {rows, *(min(whole, ceil(size / rows) * rows) for size in (4, 8, 14, 28)), whole}
            image_counts = {1, *(count for count in (2, 4, 8) if count <= batch)}
            total = g.groups * ceil(group_vectors / vectors)
            for strip in sorted(strips):
                for images in sorted(image_counts) if strip == whole else [1]:
                    for parts in (1, 2, 4, 8, 16):
                        if parts <= total:
                            yield DirectConfig(rows, columns, vectors, images, strip, ceil(total / parts))


def tile_shapes(g: Geometry, machine: Machine, vectors: int) -> set[tuple[int, int]]:
    """Rows and columns of tiles that use the registers well."""
    most = machine.most_pixels(vectors)
    shapes = set()
    if g.result_width <= most:
        rows = min(most // g.result_width, g.result_height)
        shapes |= {(rows, g.result_width), (1, g.result_width)}
    for columns in range(min(most, g.result_width), 0, -1):
        tiles = ceil(g.result_width / columns)
        if tiles == ceil(g.result_width / most):
            shapes.add((1, ceil(g.result_width / tiles)))  # even shares
            shapes.add((1, columns))
        if g.result_width % columns == 0 and columns * 2 >= most:
            shapes.add((1, columns))
    return shapes


def estimate(problem: Problem, config: DirectConfig, machine: Machine) -> float:
    """Microseconds, by register tile throughput, cache traffic and the shares of the threads."""
    g = Geometry.of(problem)
    batch = problem.size(problem.result.shape[0])
    block_bytes = g.taps * config.tile_vectors * machine.width * 4
    total_blocks = blocks(g, config, machine.width)
    chunks = ceil(total_blocks / config.item_blocks)
    strips = ceil(g.result_height / config.strip_rows)
    items = ceil(batch / config.images) * strips * chunks
    images = min(config.images, batch)

    tiles = 0
    compute = 0.0
    for rows, row_tiles in _pieces(min(config.strip_rows, g.result_height), config.tile_rows):
        for columns, column_tiles in _pieces(g.result_width, config.tile_columns):
            count = row_tiles * column_tiles
            tiles += count
            step = machine.step_cycles(rows * columns, config.tile_vectors)
            runs = g.kernel[0] if g.groups == 1 and g.dilation[1] == 1 else g.kernel[0] * g.kernel[1]
            compute += count * (g.taps * step + 3 * rows * columns * config.tile_vectors + 12 * runs + 20)
    compute *= config.item_blocks * images
    tiles *= images
    resident = block_bytes <= machine.l1_bytes // 2
    traffic = config.item_blocks * block_bytes / MEMORY_BYTES_PER_CYCLE
    if not resident:
        traffic += 0.3 * config.item_blocks * tiles * block_bytes / L2_BYTES_PER_CYCLE
    strip_bytes = images * g.input_rows(config.strip_rows) * g.padded_columns * g.channels * 4
    packing = strip_bytes / MEMORY_BYTES_PER_CYCLE if needs_padding(problem) else 0.0
    # Neighbouring chunks of a strip share its buffer within a thread.
    packing *= min(chunks, machine.threads) / chunks
    if strip_bytes + block_bytes > machine.l2_bytes * 0.8:
        traffic += config.item_blocks * strip_bytes / MEMORY_BYTES_PER_CYCLE
    result_bytes = images * config.strip_rows * g.result_width * (block_bytes // g.taps) * config.item_blocks
    if config.item_blocks > 1 and result_bytes > machine.l2_bytes // 4:
        # Each block writes its channels of pixels that left the cache since the block before.
        traffic += result_bytes / MEMORY_BYTES_PER_CYCLE
    return LOOP_START_US + machine.microseconds(machine.share(items) * (compute + traffic + packing))


def _pieces(length: int, piece: int) -> list[tuple[int, int]]:
    """``(size, count)`` of whole pieces and of what is left."""
    whole, rest = divmod(length, piece)
    return [(size, count) for size, count in ((piece, whole), (rest, 1)) if size and count]


def pack_weight(array: np.ndarray, groups: int, block: int, width: int) -> np.ndarray:
    """``[O, I/g, kh, kw]`` to ``[group][block][kh][kw][I/g][channels of the block]`` in float32.

    The last block of a group is as narrow as whole vectors of ``width`` allow; channels past the
    group's end are zero.
    """
    results, channels, height, width_taps = array.shape
    per_group = results // groups
    padded = ceil(per_group / width) * width
    grouped = np.zeros((groups, padded, channels, height, width_taps), dtype=np.float32)
    grouped[:, :per_group] = array.reshape(groups, per_group, channels, height, width_taps)
    parts = []
    for group in grouped:
        for start in range(0, padded, block):
            parts.append(group[start : start + block].transpose(2, 3, 1, 0).ravel())
    return np.concatenate(parts)


def emit(name: str, problem: Problem, config: DirectConfig) -> KernelSource:
    g = Geometry.of(problem)
    machine = Machine.of(problem.target)
    block = config.tile_vectors * machine.width
    text = TEMPLATES.kernel(
        "cpu/conv2d_direct.cpp.jinja",
        name,
        problem,
        geometry=g,
        config=config,
        width=machine.width,
        padded=needs_padding(problem),
        batch=problem.result.shape[0],
        unused_symbols=unused_symbols(problem),
    )
    return KernelSource(
        text,
        TEMPLATES.headers(*HEADERS),
        {1: lambda array: pack_weight(array, g.groups, block, machine.width)},
    )


DIRECT = Kernel(
    name="conv2d_direct",
    operator="conv.conv2d",
    target="cpu",
    candidates=candidates,
    emit=emit,
    label=lambda problem, config: kernel_label(problem),
    supports=decline,
    external_operands=frozenset({0}),
)
