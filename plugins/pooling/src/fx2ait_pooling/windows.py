"""What the pooling kernels of all targets share: shapes, windows, and which problems are served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fx2ait_core.sdk import Decline, Dim, DType, Problem, channels_last, epilogue_access

from .operators import AdaptivePoolAttributes, Pool2dAttributes


@dataclass(frozen=True)
class PoolShape:
    """Sizes and windows of a pooling as the templates write them.

    ``rows`` and ``columns`` are C++ types that give the windows along one axis; ``reduction`` is
    the C++ type that combines a window's elements.
    """

    batch: Dim
    channels: int
    height: int
    width: int
    out_height: int
    out_width: int
    rows: str
    columns: str
    reduction: str
    window: int
    title: str

    @classmethod
    def of(cls, problem: Problem, package: str) -> PoolShape:
        """:param package: the C++ namespace of the window types."""
        batch, channels, height, width = problem.operands[0].type.shape
        attributes: Any = problem.attributes
        out_height, out_width = attributes.output_size
        if isinstance(attributes, AdaptivePoolAttributes):
            rows = f"{package}::AdaptiveWindow<{height}, {out_height}>"
            columns = f"{package}::AdaptiveWindow<{width}, {out_width}>"
            most = [largest_window(size, out) for size, out in ((height, out_height), (width, out_width))]
            title = f"to {out_height}x{out_width}"
        else:
            assert isinstance(attributes, Pool2dAttributes)
            rows, columns = (
                f"{package}::FixedWindow<{size}, {attributes.kernel[axis]}, {attributes.stride[axis]}, "
                f"{attributes.padding[axis]}, {attributes.dilation[axis]}>"
                for axis, size in enumerate((height, width))
            )
            most = list(attributes.kernel)
            title = f"{attributes}"
        return cls(
            batch=batch,
            channels=channels,
            height=height,
            width=width,
            out_height=out_height,
            out_width=out_width,
            rows=rows,
            columns=columns,
            reduction=_reduction(problem, package),
            window=most[0] * most[1],
            title=f"{problem.kind} of {problem.operands[0].type}: {title}",
        )


def largest_window(size: int, out: int) -> int:
    """Elements of the longest of ``out`` adaptive windows over ``size`` elements."""
    return max(-(-(index + 1) * size // out) - index * size // out for index in range(out))


def _reduction(problem: Problem, package: str) -> str:
    if "max" in problem.kind:
        return f"{package}::Largest"
    attributes: Any = problem.attributes
    if isinstance(attributes, AdaptivePoolAttributes):
        return f"{package}::Average<{package}::Divisor::valid>"
    if attributes.divisor_override is not None:
        return f"{package}::Average<{package}::Divisor::given, {attributes.divisor_override}>"
    counted = "padded" if attributes.count_include_pad else "valid"
    return f"{package}::Average<{package}::Divisor::{counted}>"


def common_decline(problem: Problem, dtypes: Sequence[DType]) -> Decline | None:
    """None, or why no windowed kernel serves the problem."""
    source, result = problem.operands[0], problem.result
    if not all(isinstance(dim, int) for dim in source.type.shape[1:]):
        return Decline(f"only the batch of {source.type} may be dynamic")
    if not source.external and source.type.layout != channels_last(4):
        return Decline(f"input {source.type} must be channels_last")
    if result.layout != channels_last(4):
        return Decline(f"result {result} must be channels_last")
    if not source.external and source.type.dtype not in dtypes:
        return Decline(f"input {source.type} must be of {', '.join(map(str, dtypes))}")
    if result.dtype not in dtypes:
        return Decline(f"result {result} must be of {', '.join(map(str, dtypes))}")
    for operand in problem.epilogue_operands:
        try:
            epilogue_access(operand, result)
        except ValueError as error:
            return Decline(f"epilogue operand {operand.name}: {error}")
    return None


def label(problem: Problem, config: Any) -> str:
    """E.g. ``max_pool2d_3x3_64x112x112``, ``adaptive_avg_pool2d_1x1_512x7x7``."""
    attributes: Any = problem.attributes
    window = attributes.kernel if isinstance(attributes, Pool2dAttributes) else attributes.output_size
    sizes = "x".join(str(dim) for dim in problem.operands[0].type.shape[1:])
    return f"{problem.kind.split('.')[-1]}_{window[0]}x{window[1]}_{sizes}"


WINDOWED = (
    "pooling.max_pool2d",
    "pooling.avg_pool2d",
    "pooling.adaptive_avg_pool2d",
    "pooling.adaptive_max_pool2d",
)
