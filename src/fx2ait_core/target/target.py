"""A target: the machine that an engine is compiled for, described by data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ..ir.dtypes import DType


@dataclass(frozen=True)
class Target:
    """A kind of machine and what it can do.

    ``features`` are capabilities by name (``"wgmma"``, ``"avx512f"``); ``properties`` are
    figures (``multiprocessors``, ``l2_bytes``, ``threads``, ``vector_bytes``). Kernels ask for
    these, never for the target's name or architecture.
    """

    name: str
    arch: str
    device: str = ""
    compute_dtypes: tuple[DType, ...] = (DType.float32,)
    features: frozenset[str] = frozenset()
    properties: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "properties", MappingProxyType(dict(self.properties)))

    def has(self, feature: str) -> bool:
        return feature in self.features

    def __getitem__(self, figure: str) -> Any:
        return self.properties[figure]

    def __str__(self) -> str:
        return f"{self.name} ({self.arch})" if self.arch else self.name
