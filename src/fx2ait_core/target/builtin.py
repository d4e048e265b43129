"""The built-in targets, brought by hooks like a plugin's."""

from __future__ import annotations

from ..extend.specs import hookimpl
from ..ir.fused import FusedPointwise
from ..ir.operator import Operator
from ..ir.relabel import Relabel
from .backend import Backend


@hookimpl
def fx2ait_operators() -> list[type[Operator]]:
    return [FusedPointwise, Relabel]


@hookimpl
def fx2ait_targets() -> list[Backend]:
    # Imported late: the backends' kernels import the SDK, and that imports this package.
    from .cpu.backend import CpuBackend  # noqa: PLC0415
    from .cuda.backend import CudaBackend  # noqa: PLC0415

    return [CpuBackend(), CudaBackend()]
