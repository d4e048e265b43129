"""What the core itself contributes, through the same hooks as any plugin: targets and passes."""

from __future__ import annotations

from .extend.contributions import Pass
from .extend.specs import hookimpl
from .passes.pipeline import CORE_PASSES
from .target.builtin import fx2ait_operators, fx2ait_targets


@hookimpl
def fx2ait_passes() -> list[Pass]:
    return list(CORE_PASSES)


__all__ = ["fx2ait_operators", "fx2ait_passes", "fx2ait_targets"]
