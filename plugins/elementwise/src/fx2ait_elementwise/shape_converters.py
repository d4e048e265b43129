"""From ATen's shape operators. None of them runs code except concatenation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fx2ait_core.sdk import (
    Attributes,
    Call,
    Constant,
    Converter,
    Decline,
    Dim,
    IRError,
    Operator,
    Shape,
    Value,
    element_count,
    floor_div,
    is_static,
    tensor_type,
)

from .operators import (
    Concat,
    ConcatAttributes,
    Permute,
    PermuteAttributes,
    Reshape,
    ReshapeAttributes,
    Squeeze,
    SqueezeAttributes,
    Unsqueeze,
    UnsqueezeAttributes,
)


def _axis(dim: int, rank: int) -> int:
    return dim % rank if rank else 0


def _as_dims(values: int | Sequence[int]) -> list[int]:
    return [values] if isinstance(values, int) else list(values)


def _inferred(total: Dim, known: Dim) -> Dim:
    """``total / known``, which must leave no remainder for any size of the dynamic dimensions."""
    if known == 0:
        raise IRError("-1 beside a dimension of size 0 is ambiguous")
    if isinstance(known, int):
        quotient = floor_div(total, known)
    else:
        quotient = (total / known).cancel()
        quotient = int(quotient) if quotient.is_Integer else quotient
    if element_count((quotient, known)) != total:
        raise IRError(f"{total} elements cannot be divided by {known} for all sizes")
    return quotient


def _requested_shape(call: Call, argument: str) -> Shape:
    """The wanted shape with -1 replaced; raises :class:`IRError` where there is none."""
    wanted = list(call[argument])
    total = element_count(call.shape("self"))
    unknown = [index for index, dim in enumerate(wanted) if isinstance(dim, int) and dim == -1]
    if len(unknown) > 1:
        raise IRError(f"only one dimension of {tuple(wanted)} may be -1")
    if unknown:
        known = element_count(tuple(dim for index, dim in enumerate(wanted) if index != unknown[0]))
        wanted[unknown[0]] = _inferred(total, known)
    if element_count(tuple(wanted)) != total:
        raise IRError(f"{call['self'].type} has another number of elements than shape {tuple(wanted)}")
    return tensor_type(tuple(wanted), call["self"].type.dtype).shape


def _supports_reshape(argument: str) -> Callable[[Call], Decline | None]:
    def supports(call: Call) -> Decline | None:
        try:
            _requested_shape(call, argument)
        except IRError as error:
            return Decline(str(error))
        return None

    return supports


def _view(call: Call, source: Value, operator: type[Operator], attributes: Attributes) -> Value:
    """A view of a computed tensor, or a constant seen so ahead of time."""
    if not isinstance(source, Constant):
        return call.emit(operator, [source], attributes)
    (type,) = operator.infer([source.type], attributes)
    array = source.array
    if isinstance(attributes, PermuteAttributes):
        array = array.transpose(attributes.permutation)
    return call.constant(np.ascontiguousarray(array).reshape([int(dim) for dim in type.shape]))


def _axes_of_size_1(longer: Shape, shorter: Shape) -> list[int] | None:
    """The dimensions of size 1 without which ``longer`` is ``shorter``, or None where it is not."""
    dropped, position = [], 0
    for axis, dim in enumerate(longer):
        if position < len(shorter) and dim == shorter[position]:
            position += 1
        elif dim == 1:
            dropped.append(axis)
        else:
            return None
    return dropped if position == len(shorter) else None


def _reshaped(call: Call, shape: Shape) -> Value:
    """A reshape; one that only adds or drops dimensions of size 1 keeps any layout."""
    value: Value = call["self"]
    if value.type.shape == shape:
        return value
    if (dropped := _axes_of_size_1(value.type.shape, shape)) is not None:
        return _squeezed(call, dropped)
    if (added := _axes_of_size_1(shape, value.type.shape)) is not None:
        for axis in added:
            value = _view(call, value, Unsqueeze, UnsqueezeAttributes(axis))
        return value
    return _view(call, value, Reshape, ReshapeAttributes(shape))


def _convert_reshape(argument: str) -> Callable[[Call], Value]:
    return lambda call: _reshaped(call, _requested_shape(call, argument))


def _convert_flatten(call: Call) -> Value:
    shape = call.shape("self")
    if not shape:
        return _reshaped(call, (1,))
    start, end = (_axis(call[name], len(shape)) for name in ("start_dim", "end_dim"))
    return _reshaped(call, (*shape[:start], element_count(shape[start : end + 1]), *shape[end + 1 :]))


def _supports_flatten(call: Call) -> Decline | None:
    rank = call["self"].type.rank
    if rank and _axis(call["start_dim"], rank) > _axis(call["end_dim"], rank):
        return Decline(f"start_dim {call['start_dim']} comes after end_dim {call['end_dim']}")
    return None


def _permuted(call: Call, permutation: Sequence[int]) -> Value:
    source: Value = call["self"]
    if list(permutation) == list(range(source.type.rank)):
        return source
    return _view(call, source, Permute, PermuteAttributes(tuple(permutation)))


def _convert_permute(call: Call) -> Value:
    rank = call["self"].type.rank
    return _permuted(call, [_axis(dim, rank) for dim in call["dims"]])


def _convert_transpose(call: Call) -> Value:
    rank = call["self"].type.rank
    order = list(range(rank))
    if rank:
        first, second = _axis(call["dim0"], rank), _axis(call["dim1"], rank)
        order[first], order[second] = order[second], order[first]
    return _permuted(call, order)


def _convert_t(call: Call) -> Value:
    return _permuted(call, list(reversed(range(call["self"].type.rank))))


def _convert_unsqueeze(call: Call) -> Value:
    axis = _axis(call["dim"], call["self"].type.rank + 1)
    return _view(call, call["self"], Unsqueeze, UnsqueezeAttributes(axis))


def _squeezed(call: Call, axes: Sequence[int]) -> Value:
    source: Value = call["self"]
    axes = sorted({axis for axis in axes if source.type.shape[axis] == 1})
    return _view(call, source, Squeeze, SqueezeAttributes(tuple(axes))) if axes else source


def _convert_squeeze(call: Call) -> Value:
    rank = call["self"].type.rank
    given = call.arguments.get("dim")
    if given is None:
        return _squeezed(call, range(rank))
    return _squeezed(call, [_axis(dim, rank) for dim in _as_dims(given)] if rank else [])


def _supports_squeeze(call: Call) -> Decline | None:
    shape = call.shape("self")
    given = call.arguments.get("dim")
    dims = range(len(shape)) if given is None else [_axis(dim, len(shape)) for dim in _as_dims(given)]
    dynamic = [shape[dim] for dim in dims if shape and not isinstance(shape[dim], int)]
    # A dynamic dimension that can be 1 would change the result's rank; export has settled that it stays.
    if dynamic and len(call.result_shape) != len(shape) - sum(shape[d] == 1 for d in set(dims) if shape):
        return Decline(f"whether the dynamic dimension {dynamic[0]} is dropped depends on its size")
    return None


def _cat_operands(call: Call) -> list[Value]:
    """PyTorch skips old-style empty tensors of shape ``(0,)``."""
    return [tensor for tensor in call["tensors"] if tensor.type.shape != (0,)] or call["tensors"][:1]


def _supports_cat(call: Call) -> Decline | None:
    operands = _cat_operands(call)
    axis = _axis(call["dim"], operands[0].type.rank)
    if not is_static(tensor.type.shape[axis] for tensor in operands):
        return Decline("concatenation along a dynamic dimension has no kernel")
    try:
        Concat.infer([tensor.type for tensor in operands], ConcatAttributes(axis))
    except IRError as error:
        return Decline(str(error))
    return None


def _convert_cat(call: Call) -> Value:
    operands = _cat_operands(call)
    if len(operands) == 1:
        return operands[0]
    return call.emit(Concat, operands, ConcatAttributes(_axis(call["dim"], operands[0].type.rank)))


def _identity(call: Call) -> Value:
    """Layouts are the compiler's choice, and values are never written to."""
    return call["self"]


SHAPE_CONVERTERS = [
    Converter("aten.view.default", _convert_reshape("size"), _supports_reshape("size")),
    Converter("aten._unsafe_view.default", _convert_reshape("size"), _supports_reshape("size")),
    Converter("aten.reshape.default", _convert_reshape("shape"), _supports_reshape("shape")),
    Converter("aten.flatten.using_ints", _convert_flatten, _supports_flatten),
    Converter("aten.permute.default", _convert_permute),
    Converter("aten.transpose.int", _convert_transpose),
    Converter("aten.t.default", _convert_t),
    Converter("aten.contiguous.default", _identity),
    Converter("aten.clone.default", _identity),
    Converter("aten.unsqueeze.default", _convert_unsqueeze),
    Converter("aten.squeeze.default", _convert_squeeze, _supports_squeeze),
    Converter("aten.squeeze.dim", _convert_squeeze, _supports_squeeze),
    Converter("aten.squeeze.dims", _convert_squeeze, _supports_squeeze),
    Converter("aten.cat.default", _convert_cat, _supports_cat),
]
