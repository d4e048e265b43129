"""What a target brings: detection, types, generated code around kernels, and compile rules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..ir.dtypes import DType
from .target import Target

if TYPE_CHECKING:
    from ..settings import Settings


class Backend(ABC):
    """One target of the compiler. Built-in ones and a third party's implement the same methods."""

    name: str
    source_suffix: str
    c_types: Mapping[DType, str]

    @abstractmethod
    def detect(self, arch: str | None, settings: Settings) -> Target:
        """The machine at hand, or the one named by ``arch`` where it can be compiled for unseen.

        Raises :class:`~fx2ait_core.errors.TargetError` with the reason and the mend.
        """

    @abstractmethod
    def available(self, settings: Settings) -> str | None:
        """None when engines can run here, else the reason why not, with the mend."""

    @abstractmethod
    def headers(self) -> Mapping[str, str]:
        """Runtime and device headers of the target, by include path."""

    @abstractmethod
    def kernels(self) -> list[Any]:
        """Kernels of the core's own operators (pointwise programs, copies)."""
