"""Pooling and mean operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fx2ait_core.sdk import (
    Attributes,
    ChannelsLast,
    Dim,
    Epilogue,
    IRError,
    Layout,
    Operator,
    ReducesWindows,
    RowMajor,
    TensorType,
    Trait,
    View,
    WindowReduction,
    positions_read,
    tensor_type,
)


@dataclass(frozen=True)
class Pool2dAttributes(Attributes):
    """Geometry of a 2-d pooling.

    :param kernel: (height, width) of a window.
    :param stride: (vertical, horizontal) distance between windows.
    :param padding: (top, left); bottom and right follow from ``output_size``.
    :param dilation: distance between a window's elements; (1, 1) for an average.
    :param output_size: (OH, OW), with ``ceil_mode`` already in it. Windows may then reach beyond
        the padded input; elements out there count nowhere.
    :param count_include_pad: for an average: padding counts in the divisor.
    :param divisor_override: for an average: the divisor instead of the window's element count.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    output_size: tuple[int, int]
    count_include_pad: bool = True
    divisor_override: int | None = None


@dataclass(frozen=True)
class AdaptivePoolAttributes(Attributes):
    """``output_size``: (OH, OW). Window ``i`` spans ``floor(i * H / OH)`` to ``ceil((i + 1) * H / OH)``."""

    output_size: tuple[int, int]


@dataclass(frozen=True)
class MeanAttributes(Attributes):
    """``dims``: the averaged dimensions, ascending and not negative; ``keepdim``: leave them as 1."""

    dims: tuple[int, ...]
    keepdim: bool


def _pooled(kind: str, source: TensorType, size: tuple[int, int]) -> tuple[TensorType, ...]:
    if source.rank != 4:
        raise IRError(f"{kind}: input {source} must be [N, C, H, W]")
    if not all(isinstance(dim, int) for dim in source.shape[1:]):
        raise IRError(f"{kind}: only the batch of {source} may be dynamic")
    if min(size) < 1:
        raise IRError(f"{kind}: output size {size} of input {source} must be at least 1x1")
    return (tensor_type((*source.shape[:2], *size), source.dtype),)


class _Pool2d(Operator):
    """Windows of fixed size over input ``[N, C, H, W]``; result ``[N, C, OH, OW]``."""

    traits: ClassVar[tuple[Trait, ...]] = (Epilogue(), ChannelsLast((0,)))

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: Pool2dAttributes) -> tuple[TensorType, ...]:
        (source,) = operands
        if (
            min(*attributes.kernel, *attributes.stride, *attributes.dilation) < 1
            or min(attributes.padding) < 0
        ):
            raise IRError(
                f"{cls.kind}: kernel, stride, dilation >= 1 and padding >= 0 are needed: {attributes}"
            )
        types = _pooled(cls.kind, source, attributes.output_size)
        for axis in range(2):
            last_start = (attributes.output_size[axis] - 1) * attributes.stride[axis] - attributes.padding[
                axis
            ]
            if last_start >= source.shape[2 + axis] + attributes.padding[axis]:
                raise IRError(
                    f"{cls.kind}: the last window of {attributes} starts outside the padded {source}"
                )
        return types

    @classmethod
    def flops(
        cls, operands: Sequence[TensorType], results: Sequence[TensorType], attributes: Pool2dAttributes
    ) -> Dim:
        """1 for each result element and element of its window."""
        (result,) = cls.infer(operands, attributes)
        return result.element_count * attributes.kernel[0] * attributes.kernel[1]

    @classmethod
    def elements_read(
        cls, operands: Sequence[TensorType], results: Sequence[TensorType], attributes: Pool2dAttributes
    ) -> tuple[Dim, ...]:
        """A stride beyond the window's reach leaves part of the input unread."""
        (source,) = operands
        read = source.shape[0] * source.shape[1]
        for axis in range(2):
            read *= positions_read(
                source.shape[2 + axis],
                attributes.output_size[axis],
                attributes.kernel[axis],
                stride=attributes.stride[axis],
                dilation=attributes.dilation[axis],
                padding=attributes.padding[axis],
            )
        return (read,)


class MaxPool2d(_Pool2d):
    """The largest element of each window; padding never wins, NaN does."""

    kind = "pooling.max_pool2d"
    traits = (Epilogue(), ChannelsLast((0,)), ReducesWindows())

    @classmethod
    def window_of(cls, operands: Sequence[TensorType], attributes: Pool2dAttributes) -> WindowReduction:
        _, _, height, width = operands[0].shape
        return WindowReduction(
            "max",
            attributes.kernel,
            attributes.stride,
            attributes.padding,
            attributes.dilation,
            (int(height), int(width)),
            attributes.output_size,
        )


class AvgPool2d(_Pool2d):
    """The average of each window."""

    kind = "pooling.avg_pool2d"


class _AdaptivePool2d(Operator):
    """Windows that tile input ``[N, C, H, W]``; result ``[N, C, OH, OW]``."""

    traits = (Epilogue(), ChannelsLast((0,)))

    @classmethod
    def infer(
        cls, operands: Sequence[TensorType], attributes: AdaptivePoolAttributes
    ) -> tuple[TensorType, ...]:
        (source,) = operands
        return _pooled(cls.kind, source, attributes.output_size)

    @classmethod
    def flops(
        cls, operands: Sequence[TensorType], results: Sequence[TensorType], attributes: Attributes
    ) -> Dim:
        """1 for each element."""
        return operands[0].element_count


class AdaptiveAvgPool2d(_AdaptivePool2d):
    """The average of each window."""

    kind = "pooling.adaptive_avg_pool2d"


class AdaptiveMaxPool2d(_AdaptivePool2d):
    """The largest element of each window."""

    kind = "pooling.adaptive_max_pool2d"


class Mean(Operator):
    """The average over ``dims``, accumulated in float32; row-major."""

    kind = "pooling.mean"
    traits = (RowMajor(),)

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: MeanAttributes) -> tuple[TensorType, ...]:
        (source,) = operands
        dims = attributes.dims
        if list(dims) != sorted(set(dims)) or any(not 0 <= dim < source.rank for dim in dims):
            raise IRError(f"{cls.kind}: dims {dims} must be ascending dimensions of {source}")
        shape = [1 if axis in dims else dim for axis, dim in enumerate(source.shape)]
        if not attributes.keepdim:
            shape = [dim for axis, dim in enumerate(shape) if axis not in dims]
        return (tensor_type(tuple(shape), source.dtype),)

    @classmethod
    def flops(
        cls, operands: Sequence[TensorType], results: Sequence[TensorType], attributes: Attributes
    ) -> Dim:
        """1 for each element."""
        return operands[0].element_count


class DropSpatial(Operator):
    """``[N, C, 1, 1]`` seen as ``[N, C]``."""

    kind = "pooling.drop_spatial"
    traits = (View(),)

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: Attributes) -> tuple[TensorType, ...]:
        (source,) = operands
        if source.rank != 4 or source.shape[2:] != (1, 1):
            raise IRError(f"{cls.kind}: input {source} must be [N, C, 1, 1]")
        return (tensor_type(source.shape[:2], source.dtype),)

    @classmethod
    def result_layouts(cls, operands: Sequence[TensorType], attributes: Attributes) -> Layout:
        return Layout(tuple(axis for axis in operands[0].layout.order if axis < 2))


OPERATORS: list[type[Operator]] = [
    MaxPool2d,
    AvgPool2d,
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    Mean,
    DropSpatial,
]
