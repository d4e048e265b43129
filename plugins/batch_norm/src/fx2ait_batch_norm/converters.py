"""From ATen's batch normalization in eval mode to one scale and one shift per channel."""

from __future__ import annotations

import numpy as np

from fx2ait_core.sdk import Call, Constant, Converter, Decline, Value

from .operators import Affine

_PARAMETERS = ("weight", "bias", "running_mean", "running_var")


def _supports(call: Call) -> Decline | None:
    for name in ("running_mean", "running_var"):
        if call[name] is None:
            return Decline(f"without {name} the batch's statistics are needed (track_running_stats=False)")
    if call.arguments.get("training", False):
        return Decline("training=True normalizes with the batch's statistics; put the module in eval mode")
    for name in _PARAMETERS:
        if call[name] is not None and not isinstance(call[name], Constant):
            return Decline(f"{name} must be known ahead of time, but is computed or an input of the model")
    source = call["input"].type
    if not source.dtype.is_floating:
        return Decline(f"batch normalization is computed on floating point, not on {source.dtype}")
    return None


def scale_and_shift(call: Call) -> tuple[np.ndarray, np.ndarray]:
    """float64 arrays ``[C]`` with ``batch_norm(x) == x * scale + shift``."""
    mean, variance = _float64(call["running_mean"]), _float64(call["running_var"])
    scale = 1.0 / np.sqrt(variance + float(call["eps"]))
    if call["weight"] is not None:
        scale = scale * _float64(call["weight"])
    shift = -mean * scale
    if call["bias"] is not None:
        shift = shift + _float64(call["bias"])
    return scale, shift


def _float64(constant: Constant) -> np.ndarray:
    return np.asarray(constant.array, dtype=np.float64)


def _convert(call: Call) -> Value:
    scale, shift = scale_and_shift(call)
    shape = (-1, *(1,) * (call["input"].type.rank - 2))
    constants = [
        Constant(f"{call.name}_scale", scale.reshape(shape)),
        Constant(f"{call.name}_shift", shift.reshape(shape)),
    ]
    return call.emit(Affine, [call["input"], *constants])


def _supports_native(call: Call) -> Decline | None:
    if call.results_read - {0}:
        return Decline("the saved statistics are read, which serve a backward pass only")
    return _supports(call)


CONVERTERS = [
    Converter("aten.batch_norm.default", _convert, _supports),
    Converter(
        "aten._native_batch_norm_legit_no_training.default",
        lambda call: [_convert(call), None, None],
        _supports_native,
    ),
]
