"""From ATen's expansions to broadcasting."""

from __future__ import annotations

import numpy as np

from fx2ait_core.sdk import Call, Constant, Converter, Decline, Value, is_static

from .operators import Expand, ExpandAttributes


def _supports(call: Call) -> Decline | None:
    source: Value = call["self"]
    if source.type.dtype.is_floating or source.type.shape == call.result_shape or _is_known(call):
        return None
    return Decline(f"expanded on floating point only, not on {source.type.dtype}")


def _is_known(call: Call) -> bool:
    return isinstance(call["self"], Constant) and is_static(call.result_shape)


def _convert(call: Call) -> Value:
    source: Value = call["self"]
    if source.type.shape == call.result_shape:
        return source
    if isinstance(source, Constant) and _is_known(call):
        shape = [int(dim) for dim in call.result_shape]
        return call.constant(np.ascontiguousarray(np.broadcast_to(source.array, shape)))
    return call.emit(Expand, [source], ExpandAttributes(call.result_shape))


EXPAND_CONVERTERS = [
    Converter(f"aten.{name}.default", _convert, _supports) for name in ("expand", "expand_as", "broadcast_to")
]
