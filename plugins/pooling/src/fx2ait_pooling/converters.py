"""From ATen's poolings and means."""

from __future__ import annotations

from collections.abc import Sequence

from fx2ait_core.sdk import Call, Converter, Decline, Operator, Value

from .operators import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    AdaptivePoolAttributes,
    AvgPool2d,
    DropSpatial,
    MaxPool2d,
    Mean,
    MeanAttributes,
    Pool2dAttributes,
)


def _pair(values: int | Sequence[int]) -> tuple[int, int]:
    """ATen's ``int[2]``: one number stands for both."""
    if isinstance(values, int):
        return values, values
    first, *rest = values
    return int(first), int(rest[0] if rest else first)


def _output_extent(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """PyTorch's rule: in ceil mode the last window must start inside the input or its left padding."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    extent = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (extent - 1) * stride >= size + padding:
        extent -= 1
    return extent


def _pool_attributes(call: Call) -> Pool2dAttributes:
    kernel = _pair(call["kernel_size"])
    stride = _pair(call["stride"]) if call["stride"] else kernel
    padding = _pair(call["padding"])
    dilation = _pair(call.arguments.get("dilation", 1))
    sizes = [int(dim) for dim in call.shape("self")[2:]]
    extents = [
        _output_extent(sizes[i], kernel[i], stride[i], padding[i], dilation[i], bool(call["ceil_mode"]))
        for i in range(2)
    ]
    return Pool2dAttributes(
        kernel,
        stride,
        padding,
        dilation,
        (extents[0], extents[1]),
        bool(call.arguments.get("count_include_pad", True)),
        call.arguments.get("divisor_override"),
    )


def _supports_image(call: Call) -> Decline | None:
    source = call["self"].type
    if source.rank != 4:
        return Decline(f"pooling takes [N, C, H, W]; add a batch dimension to {source}")
    if not source.dtype.is_floating:
        return Decline(f"pooling is computed on floating point, not on {source.dtype}")
    if not all(isinstance(dim, int) for dim in source.shape[1:]):
        return Decline(f"only the batch of {source} may be dynamic")
    return None


def _supports_pool(call: Call) -> Decline | None:
    if (reason := _supports_image(call)) is not None:
        return reason
    attributes = _pool_attributes(call)
    if min(attributes.output_size) < 1:
        return Decline(f"a window of {attributes.kernel} does not fit the padded input {call['self'].type}")
    for kernel, padding in zip(attributes.kernel, attributes.padding, strict=True):
        if padding > kernel // 2:
            return Decline(f"padding {padding} is more than half of the window {kernel}")
    if attributes.divisor_override == 0:
        return Decline("divisor_override must not be 0")
    return None


def _indices_decline(call: Call) -> Decline | None:
    if 1 in call.results_read:
        return Decline("the indices of the maxima are read (return_indices=True), which no kernel computes")
    return None


def _supports_max_pool(call: Call) -> Decline | None:
    return _supports_pool(call) or _indices_decline(call)


def _supports_adaptive_max(call: Call) -> Decline | None:
    return _supports_adaptive(call) or _indices_decline(call)


def _convert_pool(call: Call, operator: type[Operator]) -> Value:
    return call.emit(operator, [call["self"]], _pool_attributes(call))


def _supports_adaptive(call: Call) -> Decline | None:
    if (reason := _supports_image(call)) is not None:
        return reason
    if not all(isinstance(extent, int) and extent >= 1 for extent in _as_sequence(call["output_size"])):
        return Decline(f"output_size {call['output_size']} must be numbers of at least 1")
    return None


def _as_sequence(value: int | Sequence[int]) -> Sequence[int]:
    return [value] if isinstance(value, int) else value


def _convert_adaptive(call: Call, operator: type[Operator]) -> Value:
    return call.emit(operator, [call["self"]], AdaptivePoolAttributes(_pair(call["output_size"])))


def _mean_dims(call: Call) -> tuple[int, ...]:
    """The averaged dimensions, ascending; none given means all."""
    rank = call["self"].type.rank
    given = call.arguments.get("dim")
    if given is None or given == []:
        return tuple(range(rank))
    return tuple(sorted(dim % rank for dim in _as_sequence(given))) if rank else ()


def _supports_mean(call: Call) -> Decline | None:
    source, dtype = call["self"].type, call["dtype"]
    if not source.dtype.is_floating:
        return Decline(f"means are computed on floating point, not on {source.dtype}")
    if dtype is not None and call.result_dtype not in (None, source.dtype):
        return Decline(f"a mean of {source.dtype} stays {source.dtype}; dtype={dtype} is not taken")
    if dynamic := [source.shape[dim] for dim in _mean_dims(call) if not isinstance(source.shape[dim], int)]:
        return Decline(f"a mean over the dynamic dimension {dynamic[0]} has no kernel")
    return None


def _convert_mean(call: Call) -> Value:
    dims, keepdim = _mean_dims(call), bool(call.arguments.get("keepdim", False))
    if not dims:
        return call["self"]
    source = call["self"].type
    if source.rank == 4 and dims == (2, 3) and isinstance(source.shape[1], int):
        pooled = call.emit(AdaptiveAvgPool2d, [call["self"]], AdaptivePoolAttributes((1, 1)))
        return pooled if keepdim else call.emit(DropSpatial, [pooled])
    return call.emit(Mean, [call["self"]], MeanAttributes(dims, keepdim))


CONVERTERS = [
    Converter("aten.max_pool2d.default", lambda call: _convert_pool(call, MaxPool2d), _supports_pool),
    Converter(
        "aten.max_pool2d_with_indices.default",
        lambda call: [_convert_pool(call, MaxPool2d), None],
        _supports_max_pool,
    ),
    Converter("aten.avg_pool2d.default", lambda call: _convert_pool(call, AvgPool2d), _supports_pool),
    *(
        Converter(
            f"aten.{name}.default",
            lambda call: _convert_adaptive(call, AdaptiveAvgPool2d),
            _supports_adaptive,
        )
        for name in ("adaptive_avg_pool2d", "_adaptive_avg_pool2d")
    ),
    Converter(
        "aten.adaptive_max_pool2d.default",
        lambda call: [_convert_adaptive(call, AdaptiveMaxPool2d), None],
        _supports_adaptive_max,
    ),
    Converter("aten.mean.dim", _convert_mean, _supports_mean),
    Converter("aten.mean.default", _convert_mean, _supports_mean),
]
