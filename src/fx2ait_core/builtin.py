"""What the core itself contributes, through the same hooks as any plugin: targets and passes."""

from __future__ import annotations

from .extend.contributions import Pass
from .extend.specs import hookimpl
from .passes.pipeline import CORE_PASSES
from .target.backend import Backend
from .target.cpu.backend import CpuBackend
from .target.cuda.backend import CudaBackend


@hookimpl
def fx2ait_targets() -> list[Backend]:
    return [CpuBackend(), CudaBackend()]


@hookimpl
def fx2ait_passes() -> list[Pass]:
    return list(CORE_PASSES)
