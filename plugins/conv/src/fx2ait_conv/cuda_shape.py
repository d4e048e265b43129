"""The geometry of a convolution problem, as the CUDA kernels' templates and cost models read it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from fx2ait_core.sdk import (
    Decline,
    Dim,
    DType,
    OperandSpec,
    Problem,
    TensorType,
    evaluate,
    floor_div,
    is_static,
)

from .operators import Conv2dSumAttributes

INT_MAX = 2**31 - 1


@dataclass(frozen=True)
class ConvShape:
    """A ``conv.conv2d`` problem in numbers. ``batch`` and the spatial sizes may be expressions;
    everything else is static."""

    batch: Dim
    height: Dim
    width: Dim
    out_height: Dim
    out_width: Dim
    channels: int
    out_channels: int
    groups: int
    kernel_h: int
    kernel_w: int
    stride_h: int
    stride_w: int
    pad_top: int
    pad_left: int
    pad_bottom: int
    pad_right: int
    dilation_h: int
    dilation_w: int

    @classmethod
    def of(cls, problem: Problem) -> ConvShape:
        """The problem's convolution; of a sum, the first one."""
        return cls.terms(problem)[0]

    @classmethod
    def terms(cls, problem: Problem) -> tuple[ConvShape, ...]:
        """The convolutions whose results are added: one, or the two of a ``conv.conv2d_sum``."""
        attributes, types = problem.attributes, [operand.type for operand in problem.operands]
        parts = [attributes]
        if isinstance(attributes, Conv2dSumAttributes):
            parts = [attributes.first, attributes.second]
        return tuple(
            cls.between(types[2 * i], types[2 * i + 1], problem.computed, part)
            for i, part in enumerate(parts)
        )

    @classmethod
    def between(
        cls, source: TensorType, weight: TensorType, result: TensorType, attributes: Any
    ) -> ConvShape:
        """The convolution of ``source`` and ``weight`` to ``result``; ``attributes`` as ``Conv2d``'s."""
        batch, channels, height, width = source.shape
        out_channels, _, kernel_h, kernel_w = weight.shape
        _, _, out_height, out_width = result.shape
        top, bottom, left, right = attributes.padding
        stride_h, stride_w = attributes.stride
        dilation_h, dilation_w = attributes.dilation
        return cls(
            batch, height, width, out_height, out_width, int(channels), int(out_channels), attributes.groups,
            int(kernel_h), int(kernel_w), stride_h, stride_w, top, left, bottom, right,
            dilation_h, dilation_w,
        )  # fmt: skip

    def merged(self, count: int) -> ConvShape:
        """The same convolution with ``count`` neighbouring groups taken as one."""
        return replace(self, groups=self.groups // count)

    @property
    def group_in(self) -> int:
        return self.channels // self.groups

    @property
    def group_out(self) -> int:
        return self.out_channels // self.groups

    @property
    def taps(self) -> int:
        return self.kernel_h * self.kernel_w

    @property
    def k(self) -> int:
        """Products per result element."""
        return self.taps * self.group_in

    @property
    def pixels(self) -> Dim:
        """Positions of the result over all images."""
        return self.batch * self.out_height * self.out_width

    @property
    def spatially_static(self) -> bool:
        return is_static((self.height, self.width))

    @property
    def padded(self) -> bool:
        """Whether some window reaches over an edge of the image."""
        return any((self.pad_top, self.pad_left, self.pad_bottom, self.pad_right))

    @property
    def pointwise(self) -> bool:
        """Whether the result's pixel reads the input's pixel of the same index and no other."""
        return self.taps == 1 and (self.stride_h, self.stride_w) == (1, 1) and not self.padded

    @property
    def vector(self) -> int:
        """The widest vector of result channels, at most 8, that never crosses a group."""
        return next(v for v in (8, 4, 2, 1) if self.group_out % v == 0)

    @property
    def title(self) -> str:
        """One line for the head of the generated file."""
        kernel = f"{self.kernel_h}x{self.kernel_w}"
        stride = "" if (self.stride_h, self.stride_w) == (1, 1) else f"/{self.stride_h}x{self.stride_w}"
        groups = "" if self.groups == 1 else f", {self.groups} groups"
        return (
            f"{kernel}{stride}, {self.channels} channels of {self.height}x{self.width} to "
            f"{self.out_channels} of {self.out_height}x{self.out_width}{groups}."
        )

    @property
    def window(self) -> str:
        """Kernel and stride in a name, e.g. ``3x3s2``."""
        stride = max(self.stride_h, self.stride_w)
        return f"{self.kernel_h}x{self.kernel_w}" + (f"s{stride}" if stride > 1 else "")

    def label(self, kernel: str) -> str:
        """The readable part of a function's name, e.g. ``conv2d_mma_3x3s2_64x56x56_128``."""
        size = f"x{self.height}x{self.width}" if self.spatially_static else ""
        groups = "" if self.groups == 1 else f"_g{self.groups}"
        return f"{kernel}_{self.window}_{self.channels}{size}_{self.out_channels}{groups}"


@dataclass(frozen=True)
class ConvCost:
    """Work and traffic of a problem at the sizes that it is tuned for."""

    pixels: int
    flops: float
    bytes: float

    @classmethod
    def of(cls, problem: Problem) -> ConvCost:
        terms = ConvShape.terms(problem)
        pixels, channels = problem.size(terms[0].pixels), terms[0].out_channels
        tensors = [problem.result, *(o.type for o in (*problem.operands, *problem.epilogue_operands))]
        moved = sum(prod(problem.shape(t.shape)) * t.dtype.itemsize for t in tensors)
        return cls(pixels, 2.0 * pixels * channels * sum(term.k for term in terms), float(moved))

    def memory_us(self, problem: Problem) -> float:
        """Microseconds to move every tensor once; what fits in L2 is taken to be there already."""
        figures = problem.target.properties
        rate = figures["memory_gbps"] * 1e3  # bytes per microsecond
        resident = self.bytes < 0.6 * figures["l2_bytes"]
        return self.bytes / (rate * (2.0 if resident else 0.9))


def largest(problem: Problem, dim: Dim) -> int:
    """``dim`` with every dynamic symbol at the end of its range."""
    return evaluate(dim, {name: bounds.max for name, bounds in problem.symbols})


def common_decline(problem: Problem, dtypes: tuple[DType, ...], external: bool) -> Decline | None:
    """What every CUDA convolution kernel asks for: types, layouts, a constant weight, sizes.

    :param dtypes: element types of the input that the kernel computes with.
    :param external: whether the kernel reads an external input.
    """
    terms = ConvShape.terms(problem)
    if len(problem.operands) != 2 * len(terms):
        return Decline("the bias must be part of the epilogue, not an operand")
    if any(operand.external for operand in problem.epilogue_operands):
        return Decline("an operand of the epilogue is an input of the engine, known only at run time")
    dtype = compute_dtype(problem)
    if dtype not in dtypes:
        return Decline(f"computes in {' or '.join(map(str, dtypes))}, not {dtype}")
    if not problem.result.layout.is_channels_last:
        return Decline(f"the result must be channels-last, not {problem.result.layout}")
    if (pixels := largest(problem, terms[0].pixels)) > INT_MAX - 1024:
        return Decline(f"the result's {pixels} pixels need 64-bit indices")
    operands = iter(problem.operands)
    for source, weight, term in zip(operands, operands, terms, strict=True):
        if declined := _operand_decline(problem, source, weight, term, external):
            return declined
    return None


def _operand_decline(
    problem: Problem, source: OperandSpec, weight: OperandSpec, term: ConvShape, external: bool
) -> Decline | None:
    if not weight.constant:
        return Decline("the weight must be constant, since it is packed ahead of time")
    if source.external:
        return None if external else Decline("reads no external input")
    if not source.type.layout.is_channels_last:
        return Decline(f"the input must be channels-last, not {source.type.layout}")
    image = largest(problem, term.channels * term.height * term.width)
    if image > INT_MAX:
        return Decline(f"an image of {image} elements needs 64-bit indices")
    return None


def compute_dtype(problem: Problem) -> DType:
    """The type in which products are formed: the input's. An external input's own type is known
    only at run time; then the weight's says what the engine computes in."""
    source, weight = problem.operands[:2]
    return weight.type.dtype if source.external else source.type.dtype


def element_type(problem: Problem) -> str:
    """C++ name of the type in which products are formed, and weights are packed."""
    return str(problem.target["c_types"][compute_dtype(problem)])


def launch_variables(problem: Problem, uses_workspace: bool = False) -> dict[str, Any]:
    """Template variables about the launch: whether it may start before its predecessor ends, and
    the launcher's parameters that it does not read."""
    shape = ConvShape.of(problem)
    sizes = (shape.batch, shape.height, shape.width)
    read = {str(symbol) for size in sizes if not isinstance(size, int) for symbol in size.free_symbols}
    unused = [symbol for symbol, _ in problem.symbols if symbol not in read]
    return {
        "dependent": str(problem.target["compute_capability"] >= 90).lower(),
        "unused": unused if uses_workspace else ["workspace", *unused],
    }


def ceil_div(dim: Dim, divisor: int) -> Dim:
    return floor_div(dim + (divisor - 1), divisor)


def as_rows(weight: np.ndarray) -> np.ndarray:
    """``[O, I, kh, kw]`` to ``[O, kh * kw * I]``, input channels fastest."""
    return np.ascontiguousarray(weight.transpose(0, 2, 3, 1)).reshape(weight.shape[0], -1)


def merge_groups(weight: np.ndarray, groups: int, count: int) -> np.ndarray:
    """``[O, I / groups, kh, kw]`` to the weight ``[O, count * I / groups, kh, kw]`` of the same
    convolution with ``count`` neighbouring groups taken as one: zeros where a channel reads what
    belonged to another group."""
    if count == 1:
        return weight
    out_channels, group_in, *kernel = weight.shape
    by_group = weight.reshape(groups // count, count, out_channels // groups, group_in, *kernel)
    merged = np.zeros((*by_group.shape[:3], count, group_in, *kernel), weight.dtype)
    for member in range(count):
        merged[:, member, :, member] = by_group[:, member]
    return merged.reshape(out_channels, count * group_in, *kernel)


def pad_columns(rows: np.ndarray, multiple: int) -> np.ndarray:
    """``rows`` with zeros appended to each, up to a multiple of elements."""
    return np.pad(rows, ((0, 0), (0, -rows.shape[1] % multiple)))
