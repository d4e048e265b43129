"""From ATen's concatenations."""

from __future__ import annotations

from fx2ait_core.sdk import Call, Converter, Decline, IRError, Value

from .operators import Concat, ConcatAttributes, Unsqueeze, UnsqueezeAttributes
from .shape_converters import axis_of, view_of


def _operands(call: Call) -> list[Value]:
    """PyTorch skips old-style empty tensors of shape ``(0,)``."""
    return [tensor for tensor in call["tensors"] if tensor.type.shape != (0,)] or call["tensors"][:1]


def _supports_cat(call: Call) -> Decline | None:
    operands = _operands(call)
    dtypes = sorted({str(tensor.type.dtype) for tensor in operands})
    if len(dtypes) > 1:
        return Decline(f"dtypes must agree, not {' and '.join(dtypes)}")
    axis = axis_of(call["dim"], operands[0].type.rank)
    try:
        Concat.infer([tensor.type for tensor in operands], ConcatAttributes(axis))
    except IRError as error:
        return Decline(str(error))
    return None


def _convert_cat(call: Call) -> Value:
    operands = _operands(call)
    return _joined(call, operands, axis_of(call["dim"], operands[0].type.rank))


def _joined(call: Call, operands: list[Value], axis: int) -> Value:
    return operands[0] if len(operands) == 1 else call.emit(Concat, operands, ConcatAttributes(axis))


def _supports_stack(call: Call) -> Decline | None:
    first, *others = call["tensors"]
    for tensor in others:
        if tensor.type != first.type:
            return Decline(f"stacked tensors must be of one type, not {first.type} and {tensor.type}")
    return None


def _convert_stack(call: Call) -> Value:
    axis = axis_of(call["dim"], call["tensors"][0].type.rank + 1)
    layers = [view_of(call, tensor, Unsqueeze, UnsqueezeAttributes(axis)) for tensor in call["tensors"]]
    return _joined(call, layers, axis)


CONCAT_CONVERTERS = [
    *(
        Converter(f"aten.{name}.default", _convert_cat, _supports_cat)
        for name in ("cat", "concat", "concatenate")
    ),
    Converter("aten.stack.default", _convert_stack, _supports_stack),
]
