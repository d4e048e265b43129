"""From ATen's convolutions to ``conv.conv2d``."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fx2ait_core.sdk import Call, Constant, ConversionError, Converter, Decline, IRError, Value

from .operators import Conv2d, Conv2dAttributes


def _pair(values: int | Sequence[int]) -> tuple[int, int]:
    """ATen's ``int[2]``: one number stands for both."""
    if isinstance(values, int):
        return values, values
    first, *rest = values
    return int(first), int(rest[0] if rest else first)


def _attributes(call: Call) -> Conv2dAttributes:
    stride, dilation = _pair(call["stride"]), _pair(call["dilation"])
    padding = call["padding"]
    if padding == "valid":
        sides = (0, 0, 0, 0)
    elif padding == "same":
        # An odd total puts the extra zero at the bottom and the right.
        totals = [d * (int(k) - 1) for d, k in zip(dilation, call.shape("weight")[2:], strict=True)]
        sides = (
            totals[0] // 2,
            totals[0] - totals[0] // 2,
            totals[1] // 2,
            totals[1] - totals[1] // 2,
        )
    else:
        vertical, horizontal = _pair(padding)
        sides = (vertical, vertical, horizontal, horizontal)
    return Conv2dAttributes(stride, sides, dilation, int(call["groups"]))


def _supports(call: Call) -> Decline | None:
    if call.arguments.get("transposed", False):
        return Decline("transposed convolution has no kernel yet")
    source, weight = call["input"].type, call["weight"].type
    if weight.rank != 4:
        return Decline(f"only 2-d convolution has kernels, this one has {weight.rank - 2} spatial dimensions")
    if source.rank != 4:
        return Decline(f"an unbatched input of rank {source.rank} is not taken; add a batch dimension")
    for name, value in call.arguments.items():
        if isinstance(value, Value) and value.type.dtype != source.dtype:
            return Decline(f"{name} is {value.type.dtype}, the input {source.dtype}; dtypes must agree")
    if not isinstance(call["weight"], Constant):
        return Decline("the weight is computed; kernels pack it ahead of time")
    if not source.dtype.is_floating:
        return Decline(f"convolution is computed on floating point, not on {source.dtype}")
    padding = call["padding"]
    if isinstance(padding, str) and padding not in ("same", "valid"):
        return Decline(f"padding={padding!r} is neither 'same' nor 'valid'")
    if padding == "same" and _pair(call["stride"]) != (1, 1):
        return Decline("padding='same' needs stride 1")
    operands = [source, weight, *([] if call["bias"] is None else [call["bias"].type])]
    try:
        Conv2d.infer(operands, _attributes(call))
    except IRError as error:
        return Decline(str(error))
    return None


def _convert(call: Call) -> Value:
    operands = [call["input"], call["weight"]]
    if call["bias"] is not None:
        operands.append(call["bias"])
    return call.emit(Conv2d, operands, _attributes(call))


def _declined(overload: str, reason: str) -> Converter:
    """A converter that is there to say why not."""

    def convert(call: Call) -> Value:
        raise ConversionError(f"{call.overload}: {reason}")

    supports: Callable[[Call], Decline | None] = lambda call: Decline(reason)  # noqa: E731
    return Converter(overload, convert, supports)


CONVERTERS = [
    Converter("aten.conv2d.default", _convert, _supports),
    Converter("aten.conv2d.padding", _convert, _supports),
    Converter("aten.convolution.default", _convert, _supports),
    *(
        _declined(f"aten.{name}.{overload}", f"only 2-d convolution has kernels, not {name}")
        for name in ("conv1d", "conv3d")
        for overload in ("default", "padding")
    ),
    *(
        _declined(f"aten.{name}", "transposed convolution has no kernel yet")
        for name in ("conv_transpose1d.default", "conv_transpose2d.input", "conv_transpose3d.input")
    ),
]
