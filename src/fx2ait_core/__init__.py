"""fx2ait: PyTorch models to ahead-of-time compiled engines, through converter plugins.

    import fx2ait_core as fx2ait

    engine = fx2ait.compile(model, example_inputs, dynamic_batch=(1, 512))
    engine(images)
    fx2ait.verify(engine, model)

Names are imported when they are first used, so that importing this package does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bench.benchmark import benchmark as benchmark
    from .bench.layers import layers as layers
    from .bench.verify import verify as verify
    from .compiler import CompiledLibrary as CompiledLibrary
    from .compiler import compile as compile
    from .compiler import emit_only as emit_only
    from .compiler import load as load
    from .compiler import plugins as plugins
    from .errors import Fx2aitError as Fx2aitError
    from .runtime.engine import Engine as Engine
    from .settings import Settings as Settings

__version__ = "0.1.0"

_HOMES = {
    "CompiledLibrary": ".compiler",
    "Engine": ".runtime.engine",
    "Fx2aitError": ".errors",
    "Settings": ".settings",
    "benchmark": ".bench.benchmark",
    "compile": ".compiler",
    "emit_only": ".compiler",
    "layers": ".bench.layers",
    "load": ".compiler",
    "plugins": ".compiler",
    "verify": ".bench.verify",
}

__all__ = ["__version__", *sorted(_HOMES)]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
