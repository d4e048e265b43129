"""From ATen's views. None of them runs code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

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
)

from .operators import (
    Permute,
    PermuteAttributes,
    Reshape,
    ReshapeAttributes,
    Squeeze,
    SqueezeAttributes,
    Unsqueeze,
    UnsqueezeAttributes,
)


def axis_of(dim: int, rank: int) -> int:
    """``dim`` counted from the front; a tensor of rank 0 is taken to have one dimension."""
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


def _requested_shape(argument: str, call: Call) -> Shape:
    """The wanted shape with -1 replaced; raises :class:`IRError` where there is none.

    ``argument`` holds the shape, or a tensor that has it.
    """
    given = call[argument]
    return _completed(call.shape("self"), given.type.shape if isinstance(given, Value) else given)


def _completed(source: Shape, sizes: Sequence[Dim]) -> Shape:
    """``sizes`` as a shape with as many elements as ``source``, -1 replaced."""
    wanted = list(sizes)
    total = element_count(source)
    unknown = [index for index, dim in enumerate(wanted) if isinstance(dim, int) and dim == -1]
    if len(unknown) > 1:
        raise IRError(f"only one dimension of {tuple(wanted)} may be -1")
    if unknown:
        known = element_count(tuple(dim for index, dim in enumerate(wanted) if index != unknown[0]))
        wanted[unknown[0]] = _inferred(total, known)
    if element_count(tuple(wanted)) != total:
        raise IRError(f"shape {source} has another number of elements than shape {tuple(wanted)}")
    return tuple(element_count((dim,)) for dim in wanted)


def _unflattened_shape(call: Call) -> Shape:
    shape = call.shape("self")
    axis = axis_of(call["dim"], len(shape))
    return (*shape[:axis], *_completed(shape[axis : axis + 1], call["sizes"]), *shape[axis + 1 :])


def _reshape(overload: str, wanted: Callable[[Call], Shape]) -> Converter:
    """To the shape ``wanted``, which raises :class:`IRError` where there is none."""

    def supports(call: Call) -> Decline | None:
        try:
            wanted(call)
        except IRError as error:
            return Decline(str(error))
        return None

    return Converter(overload, lambda call: _reshaped(call, wanted(call)), supports)


def view_of(call: Call, source: Value, operator: type[Operator], attributes: Attributes) -> Value:
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
            value = view_of(call, value, Unsqueeze, UnsqueezeAttributes(axis))
        return value
    return view_of(call, value, Reshape, ReshapeAttributes(shape))


def _convert_flatten(call: Call) -> Value:
    shape = call.shape("self")
    if not shape:
        return _reshaped(call, (1,))
    start, end = (axis_of(call[name], len(shape)) for name in ("start_dim", "end_dim"))
    return _reshaped(call, (*shape[:start], element_count(shape[start : end + 1]), *shape[end + 1 :]))


def _supports_flatten(call: Call) -> Decline | None:
    rank = call["self"].type.rank
    if rank and axis_of(call["start_dim"], rank) > axis_of(call["end_dim"], rank):
        return Decline(f"start_dim {call['start_dim']} comes after end_dim {call['end_dim']}")
    return None


def _permuted(call: Call, permutation: Sequence[int]) -> Value:
    source: Value = call["self"]
    if list(permutation) == list(range(source.type.rank)):
        return source
    return view_of(call, source, Permute, PermuteAttributes(tuple(permutation)))


def _convert_permute(call: Call) -> Value:
    rank = call["self"].type.rank
    return _permuted(call, [axis_of(dim, rank) for dim in call["dims"]])


def _exchanged(call: Call, first: int, second: int) -> Value:
    rank = call["self"].type.rank
    order = list(range(rank))
    if rank:
        first, second = axis_of(first, rank), axis_of(second, rank)
        order[first], order[second] = order[second], order[first]
    return _permuted(call, order)


def _exchange(overload: str, first: str, second: str) -> Converter:
    return Converter(overload, lambda call: _exchanged(call, call[first], call[second]))


def _convert_matrix_transpose(call: Call) -> Value:
    return _exchanged(call, -2, -1)


def _convert_t(call: Call) -> Value:
    return _permuted(call, list(reversed(range(call["self"].type.rank))))


def _convert_movedim(call: Call) -> Value:
    rank = call["self"].type.rank
    sources, destinations = (
        [axis_of(dim, rank) for dim in _as_dims(call[name])] for name in ("source", "destination")
    )
    moved = dict(zip(destinations, sources, strict=True))
    others = iter(axis for axis in range(rank) if axis not in sources)
    return _permuted(call, [moved[axis] if axis in moved else next(others) for axis in range(rank)])


def _convert_unsqueeze(call: Call) -> Value:
    axis = axis_of(call["dim"], call["self"].type.rank + 1)
    return view_of(call, call["self"], Unsqueeze, UnsqueezeAttributes(axis))


def _squeezed(call: Call, axes: Sequence[int]) -> Value:
    source: Value = call["self"]
    axes = sorted({axis for axis in axes if source.type.shape[axis] == 1})
    return view_of(call, source, Squeeze, SqueezeAttributes(tuple(axes))) if axes else source


def _convert_squeeze(call: Call) -> Value:
    rank = call["self"].type.rank
    given = call.arguments.get("dim")
    if given is None:
        return _squeezed(call, range(rank))
    return _squeezed(call, [axis_of(dim, rank) for dim in _as_dims(given)] if rank else [])


def _supports_squeeze(call: Call) -> Decline | None:
    shape = call.shape("self")
    given = call.arguments.get("dim")
    dims = range(len(shape)) if given is None else [axis_of(dim, len(shape)) for dim in _as_dims(given)]
    dynamic = [shape[dim] for dim in dims if shape and not isinstance(shape[dim], int)]
    # A dynamic dimension that can be 1 would change the result's rank; export has settled that it stays.
    if dynamic and len(call.result_shape) != len(shape) - sum(shape[d] == 1 for d in set(dims) if shape):
        return Decline(f"whether the dynamic dimension {dynamic[0]} is dropped depends on its size")
    return None


def _identity(call: Call) -> Value:
    """Layouts are the compiler's choice, and values are never written to."""
    return call["self"]


SHAPE_CONVERTERS = [
    *(
        _reshape(f"aten.{name}", partial(_requested_shape, argument))
        for name, argument in (
            ("view.default", "size"),
            ("_unsafe_view.default", "size"),
            ("reshape.default", "shape"),
            ("view_as.default", "other"),
            ("reshape_as.default", "other"),
        )
    ),
    _reshape("aten.unflatten.int", _unflattened_shape),
    Converter("aten.flatten.using_ints", _convert_flatten, _supports_flatten),
    Converter("aten.permute.default", _convert_permute),
    *(
        _exchange(f"aten.{name}", first, second)
        for name, first, second in (
            ("transpose.int", "dim0", "dim1"),
            ("transpose_.default", "dim0", "dim1"),
            ("swapdims.default", "dim0", "dim1"),
            ("swapdims_.default", "dim0", "dim1"),
            ("swapaxes.default", "axis0", "axis1"),
            ("swapaxes_.default", "axis0", "axis1"),
        )
    ),
    *(Converter(f"aten.{name}.default", _convert_t) for name in ("t", "t_", "numpy_T")),
    Converter("aten.mT.default", _convert_matrix_transpose),
    *(
        Converter(f"aten.{name}.{overload}", _convert_movedim)
        for name in ("movedim", "moveaxis")
        for overload in ("int", "intlist")
    ),
    Converter("aten.contiguous.default", _identity),
    Converter("aten.clone.default", _identity),
    *(Converter(f"aten.{name}.default", _convert_unsqueeze) for name in ("unsqueeze", "unsqueeze_")),
    *(
        Converter(f"aten.{name}.{overload}", _convert_squeeze, _supports_squeeze)
        for name in ("squeeze", "squeeze_")
        for overload in ("default", "dim", "dims")
    ),
]
