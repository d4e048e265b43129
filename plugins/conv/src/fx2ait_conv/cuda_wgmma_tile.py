"""The tiles of ``conv2d_wgmma``: what a thread block computes, and how its shared memory is used."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from fx2ait_core.sdk import Problem

BLOCK = 64
"""Input channels per step of the sum; the packed weight is padded to whole blocks."""
SPAN = 32
"""Channels of an operand of the epilogue that are fetched at a time."""
MOST_STAGES = 16
RESERVED = 1024 + 320
"""Bytes of shared memory beside stages and sums: alignment and barriers."""


@dataclass(frozen=True)
class Tile:
    """A thread block's share of the work; see ``WgmmaTile`` in ``wgmma_ring.cuh``.

    ``fetches``: operands of the epilogue that are laid out as the result pass through the ring.
    ``filter_sharers``, ``pixel_sharers``: blocks of a cluster of which each brings a part of the filters
    (pixels) of every step to all; see ``wgmma_share.cuh``.
    ``channel_rows``: filters are the rows of the products, so that the tile may have any multiple of 8
    pixels.
    """

    pixels: int
    channels: int
    warpgroups: int
    alternate: bool
    resident: int
    stages: int = 0
    splits: int = 1
    fetches: bool = False
    filter_sharers: int = 1
    pixel_sharers: int = 1
    channel_rows: bool = False

    @property
    def sharers(self) -> int:
        """Tiles of a cluster."""
        return self.filter_sharers * self.pixel_sharers

    @property
    def cluster(self) -> int:
        """Blocks of a cluster."""
        return self.sharers * self.splits

    @property
    def stage_bytes(self) -> int:
        return (self.pixels + self.channels) * BLOCK * 2

    @property
    def sums_bytes(self) -> int:
        """Shared memory for the parts of a block's share of a tile, where blocks share it."""
        unit = self.channels if self.channel_rows else SPAN  # channels of 8 pixels
        units = self.pixels // 8 * (self.channels // unit)
        return self.splits * ceil(units / self.splits) * 8 * unit * 4 if self.splits > 1 else 0

    @property
    def loads_early(self) -> bool:
        """Whether threads load the epilogue's operands before they multiply."""
        sums = self.pixels * self.channels // (128 * self.warpgroups)
        return self.channel_rows or (not self.alternate and sums <= (16 if self.resident > 2 else 32))

    def operand_steps(self, operands: int) -> int:
        """Stages that that many fetched operands of a tile take, 0 if one does not hold a span of each."""
        spans = self.stage_bytes // (self.pixels * SPAN * 2) // operands
        return ceil(self.channels // SPAN / spans) if spans else 0

    def tiles(self, pixels: int, channels: int) -> int:
        """How many a result of that size takes, with those that fill up clusters."""
        rows = ceil(pixels / (self.pixels * self.filter_sharers))
        return rows * ceil(channels / (self.channels * self.pixel_sharers)) * self.sharers

    def fitted(self, problem: Problem, most: int = MOST_STAGES) -> Tile | None:
        """With as many stages as shared memory holds, up to ``most``; None when those are too few, or
        where blocks that share the sum would have no row of 8 pixels to finish."""
        if self.channel_rows and self.splits > self.pixels // 8:
            return None
        target = problem.target
        share = target["shared_memory_per_multiprocessor"] // self.resident - 1024  # 1 KiB is the driver's
        room = min(target["shared_memory_per_block"], share) - RESERVED - self.sums_bytes
        stages = min(MOST_STAGES, room // self.stage_bytes)
        if stages < (3 if self.splits == 1 else min(4, most)):
            return None
        return replace(self, stages=min(stages, max(3, most)))

    def __str__(self) -> str:
        teams = f"{self.warpgroups} {'alternating ' if self.alternate else ''}warpgroups"
        depth = f"{self.stages} stages, {self.resident} resident"
        extras = f", {self.splits} splits" if self.splits > 1 else ""
        extras += ", fetching" if self.fetches else ""
        extras += f", {self.filter_sharers} share filters" if self.filter_sharers > 1 else ""
        extras += f", {self.pixel_sharers} share pixels" if self.pixel_sharers > 1 else ""
        extras += ", channel rows" if self.channel_rows else ""
        return f"{self.pixels}x{self.channels}, {teams}, {depth}{extras}"


TILES = (
    Tile(256, 128, 2, alternate=False, resident=1),
    Tile(128, 256, 2, alternate=False, resident=1),
    Tile(128, 192, 2, alternate=False, resident=1),
    Tile(128, 128, 2, alternate=True, resident=1),
    Tile(128, 128, 2, alternate=False, resident=1),
    Tile(256, 64, 2, alternate=True, resident=1),
    Tile(256, 64, 2, alternate=False, resident=1),
    Tile(128, 64, 2, alternate=True, resident=1),
    Tile(64, 128, 2, alternate=True, resident=1),
    Tile(64, 256, 2, alternate=True, resident=1),
    Tile(128, 64, 2, alternate=False, resident=2),
    Tile(128, 64, 2, alternate=False, resident=1),
    Tile(128, 64, 1, alternate=False, resident=3),
    Tile(128, 96, 2, alternate=True, resident=1),
    Tile(64, 128, 1, alternate=False, resident=2),
    Tile(64, 128, 1, alternate=False, resident=1),
    Tile(64, 64, 1, alternate=False, resident=3),
    Tile(64, 64, 1, alternate=False, resident=2),
    Tile(64, 64, 1, alternate=False, resident=1),
    Tile(64, 32, 1, alternate=False, resident=3),
    Tile(64, 32, 1, alternate=False, resident=2),
    Tile(64, 32, 1, alternate=False, resident=1),
    *(
        Tile(pixels, 64 * warpgroups, warpgroups, alternate=False, resident=1, channel_rows=True)
        for warpgroups in (2, 1)
        for pixels in (120, 112, 104, 96, 88, 80, 72, 56, 48, 40)
    ),
    *(
        Tile(pixels, 64, warpgroups, alternate=warpgroups > 1, resident=resident, channel_rows=True)
        for warpgroups, resident in ((2, 1), (1, 2))
        for pixels in (112, 96, 80, 48)
    ),
)
