"""``affine(conv(x, w) + b) => conv(x, w * scale) + (b * scale + shift)``, for any ``AffineChannels``."""

from __future__ import annotations

import numpy as np

from fx2ait_core.sdk import AffineChannels, Constant, Graph, Operator, Pass, PassContext

from .operators import Affine


def fold_batch_norm(graph: Graph, context: PassContext | None = None) -> None:
    """Fold each affine operator into the producer of its input, where that is allowed.

    New constants in float64 replace the producer's weight and bias; the old ones are left as
    they are, for others may share them. A bias operand is added where there was none.
    """
    for affine in [operator for operator in graph.operators if isinstance(operator, Affine)]:
        producer = affine.operands[0].producer
        if producer is not None and _can_take(graph, producer, affine):
            _fold(graph, producer, affine)


def _can_take(graph: Graph, producer: Operator, affine: Affine) -> bool:
    trait = producer.trait(AffineChannels)
    if trait is None or producer.epilogue is not None or affine.epilogue is not None:
        return False
    if graph.use_count(producer.result) != 1 or len(producer.results) != 1:
        return False
    parameters = [producer.operands[trait.weight], *producer.operands[trait.bias : trait.bias + 1]]
    if not all(isinstance(value, Constant) for value in [*parameters, *affine.operands[1:]]):
        return False
    # Channels are dimension 1, or the last one below rank 3; the affine operator means dimension 1.
    return bool(parameters[0].type.shape[trait.weight_axis] == producer.result.type.shape[1])


def _fold(graph: Graph, producer: Operator, affine: Affine) -> None:
    trait = producer.trait(AffineChannels)
    assert trait is not None
    old_weight = producer.operands[trait.weight]
    scale, shift = (_float64(value).reshape(-1) for value in affine.operands[1:])
    weight = _float64(old_weight)
    along_channels = [1] * weight.ndim
    along_channels[trait.weight_axis] = -1
    bias = shift
    if len(producer.operands) > trait.bias:
        bias = _float64(producer.operands[trait.bias]) * scale + shift

    new_weight = Constant(
        graph.fresh_name(f"{old_weight.name}_folded"), weight * scale.reshape(along_channels)
    )
    new_bias = Constant(graph.fresh_name(f"{affine.name}_bias"), bias)
    producer.operands[trait.weight] = new_weight
    producer.operands[trait.bias : trait.bias + 1] = [new_bias]
    producer.origin = producer.origin.merged(affine.origin)
    graph.replace_value(affine.result, producer.result)
    graph.remove(affine)


def _float64(value: object) -> np.ndarray:
    assert isinstance(value, Constant)
    return np.asarray(value.array, dtype=np.float64)


FOLD_BATCH_NORM = Pass("fold_batch_norm", fold_batch_norm, before=("form_programs", "bias_to_epilogue"))
