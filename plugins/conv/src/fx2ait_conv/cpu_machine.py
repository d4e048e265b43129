"""Rough figures of the CPU at hand, from which the kernels predict their time."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from fx2ait_core.sdk import Target

# Typical server cores; only the order among candidates depends on these.
CLOCK_GHZ = 3.5
FMA_LATENCY = 4
FMA_PER_CYCLE = 2
LOADS_PER_CYCLE = 2
L2_BYTES_PER_CYCLE = 40
MEMORY_BYTES_PER_CYCLE = 8
LOOP_START_US = 2.0


@dataclass(frozen=True)
class Machine:
    """``width`` floats per vector register, of which there are ``registers``."""

    width: int
    registers: int
    threads: int
    l1_bytes: int
    l2_bytes: int

    @classmethod
    def of(cls, target: Target) -> Machine:
        width = int(target["vector_bytes"]) // 4
        registers = 32 if width == 16 or target.has("neon") or target.has("asimd") else 16
        return cls(width, registers, int(target["threads"]), int(target["l1_bytes"]), int(target["l2_bytes"]))

    def step_cycles(self, pixels: int, vectors: int) -> float:
        """Cycles of one multiply-accumulate step of a register tile, all in the first-level cache."""
        multiplies = pixels * vectors
        loads = vectors + pixels
        return max(multiplies / FMA_PER_CYCLE, loads / LOADS_PER_CYCLE, FMA_LATENCY)

    def most_pixels(self, vectors: int) -> int:
        """Pixels of the largest register tile: sums, one step's weights and a broadcast input."""
        return max(1, (self.registers - vectors - 1) // vectors)

    def share(self, items: int) -> float:
        """Items that the busiest thread works on, of ``items`` equal ones."""
        return ceil(items / self.threads)

    def microseconds(self, cycles: float) -> float:
        return cycles / (CLOCK_GHZ * 1e3)
