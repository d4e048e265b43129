"""``conv2d_winograd``: 3x3 convolutions of stride 1 on the CPU with 2.25 or 4 times fewer products.

In float32 its relative L2 error against float64 was measured at 1.0e-6 to 2.4e-6 for tiles of 4x4
results and 1.5e-7 to 4.6e-7 for 2x2 (64 to 512 channels), beside 3e-7 to 8e-7 of the direct
convolution.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil

import numpy as np

from fx2ait_core.sdk import Candidate, Decline, Kernel, KernelSource, Problem, Templates

from .cpu_geometry import Geometry, decline, kernel_label, unused_symbols
from .cpu_machine import L2_BYTES_PER_CYCLE, LOOP_START_US, MEMORY_BYTES_PER_CYCLE, Machine

TEMPLATES = Templates("fx2ait_conv")
HEADERS = ("cpu/winograd.h", "cpu/winograd_transform.h", "cpu/register_tile.h")
MAX_CANDIDATES = 6
MIN_CHANNELS = 16
TILES_AT_ONCE = (16, 28, 56, 112, 224, 448)

# The weight transforms G of F(2, 3) and F(4, 3): transformed = G g Gᵀ.
WEIGHT_TRANSFORMS = {
    2: np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]]),
    4: np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    ),
}


@dataclass(frozen=True)
class WinogradConfig:
    """How the work is cut.

    Tiles of ``result_tile`` squared results, ``tiles`` of them at a time; products in register
    tiles of ``tile_rows`` tiles and ``tile_vectors`` vectors of channels (one block), in chunks
    of ``chunk_blocks`` blocks. ``shared``: all workers on the same tiles, not each on its own.
    """

    result_tile: int
    tile_rows: int
    tile_vectors: int
    tiles: int
    chunk_blocks: int
    shared: bool

    @property
    def positions(self) -> int:
        return (self.result_tile + 2) ** 2


def supports(problem: Problem) -> Decline | None:
    reason = decline(problem)
    if reason is not None:
        return reason
    if problem.operands[0].external:
        return Decline("the input is external; only dense float32 channels-last is read")
    g = Geometry.of(problem)
    if g.kernel != (3, 3) or g.stride != (1, 1) or g.dilation != (1, 1) or g.groups != 1:
        return Decline("only for 3x3 kernels with stride 1, dilation 1 and one group")
    if min(g.channels, g.results) < MIN_CHANNELS:
        return Decline(f"fewer than {MIN_CHANNELS} channels do not pay for the transforms")
    return None


def image_tiles(g: Geometry, result_tile: int) -> int:
    return ceil(g.result_height / result_tile) * ceil(g.result_width / result_tile)


def scratch_bytes(problem: Problem, config: WinogradConfig, width: int) -> int:
    """Bytes of the transformed input and of the products for ``config.tiles`` tiles."""
    g = Geometry.of(problem)
    block = config.tile_vectors * width
    columns = ceil(g.results / block) * block if config.shared else config.chunk_blocks * block
    pitches = ceil(g.channels / width) * width + width + columns + width
    return ceil(config.positions * config.tiles * pitches * 4 / 256) * 256


def candidates(problem: Problem) -> list[Candidate]:
    machine = Machine.of(problem.target)
    best: dict[tuple[int, bool], Candidate] = {}
    for config in configurations(problem, machine):
        candidate = Candidate(config, estimate(problem, config, machine))
        kind = (config.result_tile, config.shared)
        if kind not in best or candidate.estimate_us < best[kind].estimate_us:
            best[kind] = candidate
    return sorted(best.values(), key=lambda c: c.estimate_us)[:MAX_CANDIDATES]


def configurations(problem: Problem, machine: Machine) -> Iterator[WinogradConfig]:
    g = Geometry.of(problem)
    batch = problem.size(problem.result.shape[0])
    vectors_all = ceil(g.results / machine.width)
    for result_tile in (2, 4):
        tiles = batch * image_tiles(g, result_tile)
        for vectors in range(1, min(4, vectors_all) + 1):
            total_blocks = ceil(vectors_all / vectors)
            most = machine.most_pixels(vectors)
            for rows in range(max(1, most // 2), most + 1):
                counts = {min(ceil(tiles / rows), max(1, goal // rows)) * rows for goal in TILES_AT_ONCE}
                parts = [count for count in (1, 2, 4, 8) if count <= total_blocks]
                for at_once, count, shared in product(sorted(counts), parts, (False, True)):
                    chunk = ceil(total_blocks / count)
                    yield WinogradConfig(result_tile, rows, vectors, at_once, chunk, shared)


def estimate(problem: Problem, config: WinogradConfig, machine: Machine) -> float:
    """Microseconds, by multiplications, transforms and the traffic that each step causes."""
    g = Geometry.of(problem)
    batch = problem.size(problem.result.shape[0])
    tiles = batch * image_tiles(g, config.result_tile)
    at_once = min(config.tiles, tiles)
    rounds = ceil(tiles / config.tiles)
    blocks = ceil(g.results / (config.tile_vectors * machine.width))
    chunks = ceil(blocks / config.chunk_blocks)
    edge = config.result_tile + 2

    register_tiles = ceil(at_once / config.tile_rows)
    step = machine.step_cycles(config.tile_rows, config.tile_vectors)
    store = config.tile_rows * config.tile_vectors * 1.5 + 15
    multiply = config.positions * blocks * register_tiles * (g.channels * step + store)
    vectors_in, vectors_out = ceil(g.channels / machine.width), ceil(g.results / machine.width)
    transform_in = at_once * vectors_in * (edge * edge * 5 + config.result_tile**2 * 6)
    transform_out = at_once * vectors_out * (edge * edge * 5 + config.result_tile**2 * 12)

    weight_bytes = config.positions * blocks * config.tile_vectors * machine.width * g.channels * 4
    scratch = scratch_bytes(problem, config, machine.width)
    input_bytes = config.positions * config.tiles * g.channels * 4
    product_bytes = config.positions * config.tiles * g.results * 4
    if config.shared:
        # Every matrix is written by some worker and read by another, from beyond its own cache.
        traffic = 1.3 * (weight_bytes + 2 * input_bytes + 2 * product_bytes) / MEMORY_BYTES_PER_CYCLE
        imbalance = machine.threads * machine.share(config.positions * chunks) / (config.positions * chunks)
        cycles = rounds * (multiply * imbalance + transform_in + transform_out + traffic) / machine.threads
        return rounds * 3 * LOOP_START_US + machine.microseconds(cycles)
    spilled = max(0.0, scratch - 0.7 * machine.l2_bytes)
    rate = L2_BYTES_PER_CYCLE if weight_bytes + scratch < machine.l2_bytes * 0.9 else MEMORY_BYTES_PER_CYCLE
    traffic = weight_bytes / rate + (chunks + 1) * spilled / MEMORY_BYTES_PER_CYCLE
    cycles = machine.share(rounds) * (multiply + transform_in + transform_out + traffic)
    return LOOP_START_US + machine.microseconds(cycles)


def pack_weight(array: np.ndarray, result_tile: int, block: int) -> np.ndarray:
    """``[O, I, 3, 3]`` to ``[position][block][I][channels of the block]``: float64 inside, float32 out."""
    transform = WEIGHT_TRANSFORMS[result_tile]
    results, channels = array.shape[:2]
    padded = ceil(results / block) * block
    transformed = np.zeros((padded, channels, transform.shape[0], transform.shape[0]))
    transformed[:results] = transform @ array.astype(np.float64) @ transform.T
    by_position = transformed.reshape(padded // block, block, channels, -1).transpose(3, 0, 2, 1)
    return np.ascontiguousarray(by_position, dtype=np.float32).ravel()


def emit(name: str, problem: Problem, config: WinogradConfig) -> KernelSource:
    machine = Machine.of(problem.target)
    workspace = scratch_bytes(problem, config, machine.width) if config.shared else 0
    text = TEMPLATES.kernel(
        "cpu/conv2d_winograd.cpp.jinja",
        name,
        problem,
        geometry=Geometry.of(problem),
        config=config,
        width=machine.width,
        workspace=workspace,
        batch=problem.result.shape[0],
        unused_symbols=unused_symbols(problem),
    )
    block = config.tile_vectors * machine.width
    return KernelSource(
        text,
        TEMPLATES.headers(*HEADERS),
        {1: lambda array: pack_weight(array, config.result_tile, block)},
        workspace,
    )


WINOGRAD = Kernel(
    name="conv2d_winograd",
    operator="conv.conv2d",
    target="cpu",
    candidates=candidates,
    emit=emit,
    label=lambda problem, config: kernel_label(problem),
    supports=supports,
)
