"""The convolution operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fx2ait_core.sdk import (
    AbsorbsWindows,
    AffineChannels,
    Attributes,
    ChannelsLast,
    Dim,
    Epilogue,
    IRError,
    Operator,
    TensorType,
    floor_div,
    positions_read,
    tensor_type,
)


@dataclass(frozen=True)
class Conv2dAttributes(Attributes):
    """Geometry of a 2-d convolution.

    :param stride: (vertical, horizontal), each at least 1.
    :param padding: zeros added at (top, bottom, left, right).
    :param dilation: (vertical, horizontal), each at least 1.
    :param groups: divides the channels of input and result.
    """

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


class Conv2d(Operator):
    """2-d cross-correlation, as PyTorch's ``conv2d``.

    Operands: input ``[N, I, H, W]``, weight ``[O, I / groups, kh, kw]``, optionally bias ``[O]``.
    Result: ``[N, O, OH, OW]`` in the input's dtype, with
    ``OH = (H + top + bottom - dilation * (kh - 1) - 1) // stride + 1`` and ``OW`` likewise.
    """

    kind = "conv.conv2d"
    operand_names = ("input", "weight", "bias")
    traits = (AffineChannels(), Epilogue(), ChannelsLast((0,)), AbsorbsWindows())
    attributes: Conv2dAttributes

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: Conv2dAttributes) -> tuple[TensorType, ...]:
        if len(operands) not in (2, 3):
            raise IRError(
                f"{cls.kind} takes an input, a weight and perhaps a bias, not {len(operands)} operands"
            )
        source, weight = operands[:2]
        if source.rank != 4 or weight.rank != 4:
            raise IRError(f"{cls.kind}: input {source} and weight {weight} must both have 4 dimensions")
        _check_attributes(attributes)
        channels, groups = source.shape[1], attributes.groups
        out_channels, group_channels, *kernel = weight.shape
        if not all(isinstance(dim, int) for dim in (channels, *weight.shape)):
            raise IRError(f"{cls.kind}: the channels of {source} and the weight {weight} must be static")
        if channels != group_channels * groups:
            raise IRError(
                f"{cls.kind}: input {source} has {channels} channels, but weight {weight} with "
                f"groups={groups} reads {group_channels * groups}"
            )
        if out_channels % groups:
            raise IRError(f"{cls.kind}: groups={groups} does not divide the {out_channels} result channels")
        if len(operands) == 3 and operands[2].shape != (out_channels,):
            raise IRError(f"{cls.kind}: bias {operands[2]} must have shape ({out_channels},)")
        size = []
        for axis in range(2):
            before, after = attributes.padding[2 * axis : 2 * axis + 2]
            reach = attributes.dilation[axis] * (kernel[axis] - 1) + 1
            room = source.shape[2 + axis] + before + after - reach
            if isinstance(room, int) and room < 0:
                raise IRError(
                    f"{cls.kind}: a kernel reaching over {reach} does not fit the padded input {source}"
                )
            size.append(floor_div(room, attributes.stride[axis]) + 1)
        return (tensor_type((source.shape[0], out_channels, *size), source.dtype),)

    @classmethod
    def flops(
        cls, operands: Sequence[TensorType], results: Sequence[TensorType], attributes: Conv2dAttributes
    ) -> Dim:
        """2 for each result element, channel of its group and position of the kernel, padding included."""
        (result,) = cls.infer(operands, attributes)
        _, group_channels, height, width = operands[1].shape
        return 2 * result.element_count * group_channels * height * width

    @classmethod
    def elements_read(
        cls, operands: Sequence[TensorType], results: Sequence[TensorType], attributes: Conv2dAttributes
    ) -> tuple[Dim, ...]:
        """A stride beyond the kernel's reach leaves part of the input unread."""
        source, weight = operands[:2]
        (result,) = cls.infer(operands, attributes)
        read = source.shape[0] * source.shape[1]
        for axis in range(2):
            read *= positions_read(
                source.shape[2 + axis],
                result.shape[2 + axis],
                int(weight.shape[2 + axis]),
                stride=attributes.stride[axis],
                dilation=attributes.dilation[axis],
                padding=attributes.padding[2 * axis],
            )
        return (read, *(operand.element_count for operand in operands[1:]))


def _check_attributes(attributes: Conv2dAttributes) -> None:
    if min(*attributes.stride, *attributes.dilation, attributes.groups) < 1:
        raise IRError(f"{Conv2d.kind}: stride, dilation and groups must be at least 1: {attributes}")
    if min(attributes.padding) < 0:
        raise IRError(f"{Conv2d.kind}: padding must not be negative: {attributes}")


@dataclass(frozen=True)
class Conv2dSumAttributes(Attributes):
    """Geometries of the two convolutions of a :class:`Conv2dSum`."""

    first: Conv2dAttributes
    second: Conv2dAttributes


class Conv2dSum(Operator):
    """``conv2d(input, weight) + conv2d(other, other_weight)``, summed in one accumulator.

    Operands: as two times :class:`Conv2d` without bias. Result: as of either; both must agree.
    """

    kind = "conv.conv2d_sum"
    operand_names = ("input", "weight", "other", "other_weight")
    traits = (Epilogue(), ChannelsLast((0, 2)))

    @classmethod
    def infer(cls, operands: Sequence[TensorType], attributes: Conv2dSumAttributes) -> tuple[TensorType, ...]:
        if len(operands) != 4:
            raise IRError(f"{cls.kind} takes two inputs and two weights, not {len(operands)} operands")
        first = Conv2d.infer(operands[:2], attributes.first)
        second = Conv2d.infer(operands[2:], attributes.second)
        if first != second:
            raise IRError(f"{cls.kind}: the results {first[0]} and {second[0]} must be of one type")
        return first

    @classmethod
    def flops(
        cls, operands: Sequence[TensorType], results: Sequence[TensorType], attributes: Conv2dSumAttributes
    ) -> Dim:
        first = Conv2d.flops(operands[:2], results, attributes.first)
        return first + Conv2d.flops(operands[2:], results, attributes.second)

    @classmethod
    def elements_read(
        cls, operands: Sequence[TensorType], results: Sequence[TensorType], attributes: Conv2dSumAttributes
    ) -> tuple[Dim, ...]:
        first = Conv2d.elements_read(operands[:2], results, attributes.first)
        return (*first, *Conv2d.elements_read(operands[2:], results, attributes.second))


OPERATORS: list[type[Operator]] = [Conv2d, Conv2dSum]
