"""What a target brings: detection, types, generated code around kernels, and compile rules."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..ir.dtypes import DType
from .target import Target

if TYPE_CHECKING:
    from ..settings import Settings


class Backend(ABC):
    """One target of the compiler. Built-in ones and a third party's implement the same methods.

    :cvar source_suffix: of generated sources (``.cu``, ``.cpp``); decides the compiler.
    :cvar c_types: C++ element types.
    :cvar device_class: the policy of ``fx2ait::ModelContainer``, e.g. ``fx2ait::cpu::Device``.
    :cvar device_header: its include path.
    :cvar type_includes: what declares the element types and the launch context of launchers,
        as written after ``#include``.
    :cvar measured_within: candidates estimated at more than this times the best estimate are not
        measured: that they win is so rare that compiling them, which takes longest, does not pay.
    :cvar measured_at_most: of the rest, so many with the best estimates are measured.
    """

    name: str
    source_suffix: str
    c_types: Mapping[DType, str]
    device_class: str
    device_header: str
    type_includes: tuple[str, ...]
    measured_within: float = 1.15
    measured_at_most: int = 3

    @abstractmethod
    def detect(self, arch: str | None, settings: Settings) -> Target:
        """The machine at hand, or the one named by ``arch`` where it can be compiled for unseen.

        Raises :class:`~fx2ait_core.errors.TargetError` with the reason and the mend.
        """

    @abstractmethod
    def available(self, settings: Settings) -> str | None:
        """None when engines can run here, else the reason why not, with the mend."""

    def runs_here(self, target: Target, settings: Settings) -> str | None:
        """None when code for ``target`` runs on this machine, else the reason why not."""
        reason = self.available(settings)
        if reason is None and self.detect(None, settings).arch != target.arch:
            reason = f"this machine is no {target.arch}"
        return reason

    @abstractmethod
    def headers(self) -> Mapping[str, str]:
        """Runtime and device headers of the target, by include path."""

    @abstractmethod
    def kernels(self) -> list[Any]:
        """Kernels of the core's own operators (pointwise programs, copies)."""

    @abstractmethod
    def compile_flags(self, target: Target) -> list[str]:
        """Flags of the compiler for every generated source; includes lie in ``include``."""

    @abstractmethod
    def link_flags(self, target: Target) -> list[str]:
        """Flags beside ``-shared`` when the library is linked."""


def header_texts(folder: Path) -> dict[str, str]:
    """Texts of all headers below ``folder``, by include path, sorted."""
    found = sorted(path for path in folder.rglob("*") if path.suffix in (".h", ".cuh"))
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in found}
