"""``conv(x, w) + conv(y, v) => conv_sum(x, w, y, v)``: a shortcut computed inside its sibling.

A residual block that changes shape ends in the sum of two convolutions. As one operator the second
sum continues the first one's accumulators: neither its result nor its launch exists any more.
"""

from __future__ import annotations

import numpy as np

from fx2ait_core.sdk import Constant, Graph, Operator, Pass, PassContext, PointwiseProgram, PointwiseStep

from .operators import Conv2d, Conv2dSum, Conv2dSumAttributes

ADD = "{0} + {1}"


def merge_sums(graph: Graph, context: PassContext) -> None:
    """Merge each sum of two convolutions that nothing else reads, where a kernel takes the merged one.

    Biases become one constant in float64, which is the merged operator's epilogue. The convolution
    that comes later keeps its place and, as the one with more products, the first operands' role.
    """
    for addition in list(graph.operators):
        if (pair := _summands(graph, addition)) is None:
            continue
        first, second = sorted(pair, key=_products, reverse=True)
        if _is_taken(first, second, context):
            _merge(graph, addition, first, second)


def _summands(graph: Graph, addition: Operator) -> tuple[Conv2d, Conv2d] | None:
    """The two convolutions that ``addition`` adds, or None when it is something else."""
    program = getattr(addition.attributes, "program", None)
    if not isinstance(program, PointwiseProgram) or addition.epilogue is not None:
        return None
    if len(program.steps) != 1 or program.steps[0].expression != ADD or len(addition.operands) != 2:
        return None
    left, right = (operand.producer for operand in addition.operands)
    if not isinstance(left, Conv2d) or not isinstance(right, Conv2d):
        return None
    for summand in (left, right):
        if summand.epilogue is not None or graph.use_count(summand.result) != 1:
            return None
        if summand.result.type != addition.result.type:
            return None
        if not all(isinstance(value, Constant) for value in summand.operands[1:]):
            return None
    return left, right


def _products(convolution: Operator) -> int:
    _, *terms = convolution.operands[1].type.shape
    return int(np.prod([int(size) for size in terms]))


def _is_taken(first: Operator, second: Operator, context: PassContext) -> bool:
    """Whether this target has a kernel for the merged operator."""
    from .cuda_sum import serves  # noqa: PLC0415  (kernels are large, and only a compilation needs them)

    if not context.registry.kernels(Conv2dSum.kind, context.target.name):
        return False
    return serves(first, second, context.target, context.precision) is None


def _merge(graph: Graph, addition: Operator, first: Conv2d, second: Conv2d) -> None:
    attributes = Conv2dSumAttributes(first.attributes, second.attributes)
    merged = Conv2dSum(
        [*first.operands[:2], *second.operands[:2]],
        attributes,
        name=addition.name,
        origin=first.origin.merged(second.origin).merged(addition.origin),
    )
    operands = [value for part in (first, second) for value in part.operands[2:]]
    biases = [np.asarray(bias.array, np.float64) for bias in operands if isinstance(bias, Constant)]
    if biases:
        total = np.sum(biases, axis=0).reshape(-1, 1, 1)
        constant = Constant(graph.fresh_name(f"{addition.name}_bias"), total)
        merged.epilogue = PointwiseProgram(2, (PointwiseStep("core.add", ADD, (0, 1)),))
        merged.epilogue_operands = [constant]
    merged.results = [addition.result]
    addition.result.producer = merged
    graph.operators[graph.operators.index(addition)] = merged
    for part in (first, second):
        graph.remove(part)


MERGE_SUMS = Pass("merge_sums", merge_sums, after=("form_programs",), before=("bias_to_epilogue",))
