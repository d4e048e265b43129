"""The sizes of a convolution as the CPU kernels see them, and what they decline."""

from __future__ import annotations

from dataclasses import dataclass

from fx2ait_core.sdk import Decline, DType, Problem, is_static

from .operators import Conv2dAttributes


@dataclass(frozen=True)
class Geometry:
    """A convolution's static sizes; only the batch may be dynamic."""

    channels: int
    height: int
    width: int
    results: int
    result_height: int
    result_width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int

    @classmethod
    def of(cls, problem: Problem) -> Geometry:
        """Of a problem that :func:`decline` accepts."""
        source, weight = problem.operands[:2]
        attributes: Conv2dAttributes = problem.attributes  # type: ignore[assignment]
        _, channels, height, width = source.type.shape
        _, results, result_height, result_width = problem.result.shape
        kernel_height, kernel_width = weight.type.shape[2:]
        return cls(
            channels=int(channels),
            height=int(height),
            width=int(width),
            results=int(results),
            result_height=int(result_height),
            result_width=int(result_width),
            kernel=(int(kernel_height), int(kernel_width)),
            stride=attributes.stride,
            padding=attributes.padding,
            dilation=attributes.dilation,
            groups=attributes.groups,
        )

    @property
    def pad_top(self) -> int:
        return self.padding[0]

    @property
    def pad_left(self) -> int:
        return self.padding[2]

    @property
    def group_channels(self) -> int:
        return self.channels // self.groups

    @property
    def group_results(self) -> int:
        return self.results // self.groups

    @property
    def pixels(self) -> int:
        """Result pixels per image."""
        return self.result_height * self.result_width

    @property
    def taps(self) -> int:
        """Products per result element."""
        return self.kernel[0] * self.kernel[1] * self.group_channels

    @property
    def padded_columns(self) -> int:
        """Columns of the padded input that some result column reads."""
        return (self.result_width - 1) * self.stride[1] + (self.kernel[1] - 1) * self.dilation[1] + 1

    def input_rows(self, rows: int) -> int:
        """Rows of the padded input that ``rows`` neighbouring result rows read."""
        return (rows - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1

    def __str__(self) -> str:
        text = f"{self.channels}x{self.height}x{self.width}"
        text += f" to {self.results}x{self.result_height}x{self.result_width}"
        text += f", kernel {self.kernel[0]}x{self.kernel[1]}, stride {self.stride}, padding {self.padding}"
        return f"Convolution of {text}, dilation {self.dilation}, groups {self.groups}."


def decline(problem: Problem) -> Decline | None:
    """The reason why no CPU kernel of this plugin serves the problem, if there is one."""
    if len(problem.operands) != 2:
        return Decline("takes an input and a weight; a bias must have been moved into the epilogue")
    source, weight = problem.operands
    if not weight.constant:
        return Decline("the weight is computed at run time, so it cannot be packed ahead of time")
    if not source.external and source.type.dtype is not DType.float32:
        return Decline(f"the input is {source.type.dtype}, not float32")
    if problem.result.dtype not in (DType.float32, DType.float16, DType.bfloat16):
        return Decline(f"the result is {problem.result.dtype}, not a float")
    if not is_static((*source.type.shape[1:], *problem.result.shape[1:])):
        return Decline(f"only the batch may be dynamic, not {source.type.shape[1:]}")
    if not problem.result.layout.is_channels_last:
        return Decline(f"the result's layout is {problem.result.layout}, not channels_last")
    if not source.external and not source.type.layout.is_channels_last:
        return Decline(f"the input's layout is {source.type.layout}, not channels_last")
    return None


def kernel_label(problem: Problem) -> str:
    """``conv2d_3x3_64x56x56_64``, with the stride when it is not 1."""
    g = Geometry.of(problem)
    label = f"conv2d_{g.kernel[0]}x{g.kernel[1]}"
    if g.stride != (1, 1):
        label += f"_s{g.stride[0]}" if g.stride[0] == g.stride[1] else f"_s{g.stride[0]}x{g.stride[1]}"
    return f"{label}_{g.channels}x{g.height}x{g.width}_{g.results}"


def unused_symbols(problem: Problem) -> list[str]:
    """Launcher parameters that the batch does not mention."""
    batch = problem.result.shape[0]
    used = set() if isinstance(batch, int) else {symbol.name for symbol in batch.free_symbols}
    return [name for name, _ in problem.symbols if name not in used]
