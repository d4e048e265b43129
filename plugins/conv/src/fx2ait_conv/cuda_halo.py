"""``conv2d_halo``: convolution of stride 1 on Hopper's ``wgmma`` whose taps all read one box of pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import ceil

import numpy as np

from fx2ait_core.sdk import (
    Candidate,
    Decline,
    DType,
    Kernel,
    KernelSource,
    OperandSpec,
    Problem,
    Templates,
    c_type,
    epilogue_access,
)

from .cuda_hopper import (
    DTYPES,
    channels_decline,
    groups_decline,
    hopper_decline,
    pack_blocks,
    pair_channels,
)
from .cuda_shape import INT_MAX, ConvCost, ConvShape, compute_dtype, largest

TEMPLATES = Templates(__package__)
HEADERS = ("cuda/conv2d_halo.cuh", "cuda/halo_tile.cuh", "cuda/pair_epilogue.cuh")
MOST_CANDIDATES = 6
MOST_STAGES = 6
WIDTH = 8
"""Pixels in a row of a tile: 8 rows of a matrix operand lie together."""
SLICE = 64
"""Result channels of a warpgroup's products."""


@dataclass(frozen=True)
class Cut:
    """Input channels as ``blocks`` rows of shared memory of ``row`` elements each, of which the
    products sum over the first 16 * ``depth``; see ``HaloChannels`` in ``halo_tile.cuh``."""

    row: int
    blocks: int
    depth: int

    @classmethod
    def of(cls, channels: int) -> Cut:
        row = 64 if channels > 32 else 32 if channels > 16 else 16
        blocks = ceil(channels / row)
        return cls(row, blocks, row // 16 if blocks > 1 else ceil(channels / 16))


@dataclass(frozen=True)
class HaloTile:
    """A thread block's share of the work; see ``HaloTile`` in ``halo_tile.cuh``."""

    height: int
    warpgroups: int
    alternate: bool
    resident: int
    stages: int = 0
    staged: int = 0

    @property
    def slices(self) -> int:
        return 1 if self.alternate else self.warpgroups

    @property
    def teams(self) -> int:
        return self.warpgroups if self.alternate else 1

    @property
    def registers(self) -> int:
        """Registers that a consumer's thread may use."""
        if self.warpgroups == 2 and self.height > 16:
            return 232
        return 255 if self.warpgroups == self.resident == 1 else 168

    def box_bytes(self, shape: ConvShape) -> int:
        """One stage: the pixels that a tile's windows touch, on whole KiB."""
        height = self.height + (shape.kernel_h - 1) * shape.dilation_h
        width = WIDTH + (shape.kernel_w - 1) * shape.dilation_w
        return ceil(height * width * Cut.of(shape.channels).row * 2 / 1024) * 1024

    def operand_bytes(self) -> int:
        """The tile of an operand of the epilogue that is fetched ahead."""
        return self.height * WIDTH * SLICE * 2 * self.slices

    def fitted(self, problem: Problem) -> HaloTile | None:
        """With as many stages as shared memory holds, or None where it or the registers do not do."""
        shape, target = ConvShape.of(problem), problem.target
        share = target["shared_memory_per_multiprocessor"] // self.resident - 1024  # 1 KiB is the driver's
        room = min(target["shared_memory_per_block"], share) - 1024 - 512  # alignment, barriers
        room -= self.slices * filter_bytes(shape) + self.staged * self.operand_bytes()
        stages = min(MOST_STAGES, room // self.box_bytes(shape))
        held = sum(o.type.dtype.itemsize for o in elementwise(problem))
        if stages < min(2, Cut.of(shape.channels).blocks) or self.height * (4 + held) + 40 > self.registers:
            return None
        return replace(self, stages=stages)

    def __str__(self) -> str:
        teams = f"{self.warpgroups} {'alternating ' if self.alternate else ''}warpgroups"
        staged = f", {self.staged} operands staged" if self.staged else ""
        return f"{self.height}x{WIDTH}, {teams}, {self.stages} stages, {self.resident} resident{staged}"


TILES = (
    *(HaloTile(height, 2, alternate=True, resident=1) for height in (32, 28, 24, 20, 16, 12, 8)),
    *(HaloTile(height, 2, alternate=False, resident=1) for height in (28, 16, 8)),
    *(HaloTile(height, 1, alternate=False, resident=1) for height in (28, 20, 16, 12, 8, 4)),
    *(HaloTile(height, 1, alternate=False, resident=2) for height in (16, 12, 8, 4)),
)


def filter_bytes(shape: ConvShape) -> int:
    """Shared memory for the filters of one slice of result channels."""
    cut = Cut.of(shape.channels)
    return shape.taps * cut.blocks * SLICE * cut.row * 2


def elementwise(problem: Problem) -> list[OperandSpec]:
    """The epilogue's operands that are laid out as the result."""
    return [o for o in problem.epilogue_operands if epilogue_access(o, problem.result) == "element"]


def staged_operand(problem: Problem) -> int | None:
    """Number of the epilogue operand that the copy engine may fetch ahead: the only one that is laid
    out as the result, if its elements have two bytes."""
    found = elementwise(problem)
    if len(found) != 1 or found[0].type.dtype not in DTYPES:
        return None
    return problem.epilogue_operands.index(found[0])


def supports(problem: Problem) -> Decline | None:
    """None, or why this kernel does not serve the problem."""
    shape = ConvShape.of(problem)
    if declined := hopper_decline(problem) or groups_decline(shape):
        return declined
    if shape.taps == 1:
        return Decline("a window of one tap has no halo that other taps would read again")
    if (shape.stride_h, shape.stride_w) != (1, 1):
        return Decline(f"strides must be 1, not {shape.stride_h}x{shape.stride_w}")
    if declined := channels_decline(shape):
        return declined
    reach_h, reach_w = (shape.kernel_h - 1) * shape.dilation_h, (shape.kernel_w - 1) * shape.dilation_w
    if max(reach_h + max(tile.height for tile in TILES), reach_w + WIDTH) > 256:
        return Decline(f"a window reaching {reach_h}x{reach_w} pixels exceeds the copy engine's box of 256")
    if largest(problem, shape.out_height * shape.out_width * shape.out_channels) > INT_MAX:
        return Decline("an image of the result needs 64-bit indices")
    if not any(True for _ in configurations(problem)):
        return Decline(
            f"{shape.taps} taps of {shape.channels} channels take {filter_bytes(shape) >> 10} KiB of shared "
            "memory, which leaves no room for pixels"
        )
    return None


def configurations(problem: Problem) -> Iterator[HaloTile]:
    """All tiles that the device can run."""
    shape = ConvShape.of(problem)
    for tile in TILES:
        if tile.slices > ceil(shape.out_channels / SLICE):
            continue
        places = (0, tile.teams) if staged_operand(problem) is not None else (0,)
        for staged in places:
            if (fitted := replace(tile, staged=staged).fitted(problem)) is not None:
                yield fitted


def estimate_us(problem: Problem, tile: HaloTile) -> float:
    """Predicted time at the sizes that the kernel is chosen for.

    A block fetches a first box, then forms the products of its tiles, bound by the tensor cores or by
    shared memory, and finishes each, hidden behind the next tile's products where warpgroups
    alternate. All of it competes with memory traffic. Constants were fitted to some 130 timings of 64
    to 128 channels at batch 1 to 256 on an H100.
    """
    shape, target = ConvShape.of(problem), problem.target
    cut, height = Cut.of(shape.channels), tile.height
    multiprocessors = target["multiprocessors"]
    slices = ceil(shape.out_channels / (SLICE * tile.slices))
    walkers = max(1, multiprocessors * tile.resident // slices)
    images = problem.size(shape.batch)
    tiles = (
        images * ceil(problem.size(shape.out_height) / height) * ceil(problem.size(shape.out_width) / WIDTH)
    )
    resident = min(tile.resident, ceil(tiles * slices / multiprocessors))
    turns = ceil(tiles / walkers)

    tensor = 2.0 * SLICE * WIDTH * height * 16 / (target["fp16_tflops"] * 0.96e6 / multiprocessors)
    step = max(tensor, 0.0105 + 0.00115 * height) + 0.0012  # products of 16 channels; 0.0105: filters
    work = shape.taps * cut.blocks * cut.depth * step * tile.slices + 0.01 * height + 0.03
    if tile.stages < (2 if tile.alternate else 2 * cut.blocks):
        work *= 1.2  # a box is fetched only after the products of the one before
    finish = 0.02 * height
    direct = len(elementwise(problem)) - (tile.staged > 0)
    if tile.alternate or resident > 1:  # hidden behind the products of others
        held = max(0.0, 0.144 * height * direct - work)
    else:
        held = 0.045 * height * direct
    held += 0.006 * height * (tile.staged > 0)
    exposed = 0.0 if tile.alternate else 0.012 * height
    run = turns * resident * (work + held) + (turns - 1) * exposed

    bandwidth = target["memory_gbps"] * 1e3  # bytes per microsecond
    boxes = min(tiles, walkers) * slices * tile.box_bytes(shape) * cut.blocks
    start = 1.4 + boxes / (0.75 * bandwidth) + 0.25 * (tile.staged > 0)
    traffic = ConvCost.of(problem).bytes / (0.87 * bandwidth)
    return start + finish + max(run + 0.1 * traffic, traffic)


def candidates(problem: Problem) -> Sequence[Candidate]:
    """The most promising configurations, best first."""
    found = [Candidate(tile, estimate_us(problem, tile)) for tile in configurations(problem)]
    return sorted(found, key=lambda candidate: candidate.estimate_us)[:MOST_CANDIDATES]


def pack_weight(weight: np.ndarray, dtype: DType) -> np.ndarray:
    """``[O, I, kh, kw]`` to ``[kh * kw * blocks, rows, row]``, the input channels of a block fastest.

    Rows are the result channels in pairs (see :func:`.cuda_hopper.pair_channels`).
    """
    return pack_blocks(pair_channels(weight), Cut.of(weight.shape[1]).row, dtype)


def emit(name: str, problem: Problem, tile: HaloTile) -> KernelSource:
    """The source of one problem and configuration."""
    shape, staged = ConvShape.of(problem), staged_operand(problem)
    operand = {} if staged is None else {
        "staged": f"e{staged}",
        "staged_type": c_type(problem.epilogue_operands[staged].type, problem),
    }  # fmt: skip
    text = TEMPLATES.kernel(
        "cuda/conv2d_halo.cu.jinja",
        name,
        problem,
        shape=shape,
        cut=Cut.of(shape.channels),
        tile=tile,
        multiprocessors=problem.target["multiprocessors"],
        **operand,
    )
    return KernelSource(
        text,
        headers=TEMPLATES.headers(*HEADERS),
        packings={1: partial(pack_weight, dtype=compute_dtype(problem))},
    )


CONV2D_HALO = Kernel(
    name="conv2d_halo",
    operator="conv.conv2d",
    target="cuda",
    supports=supports,
    candidates=candidates,
    label=lambda problem, config: ConvShape.of(problem).label("conv2d_halo"),
    emit=emit,
)
