"""Partition: which converter takes which node, and why the others have none."""

from .partition import PartitionedProgram, partition

__all__ = ["PartitionedProgram", "partition"]
