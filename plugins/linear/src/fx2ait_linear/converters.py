"""From ATen's linear layers and matrix products."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fx2ait_core.sdk import Call, Constant, Converter, Decline, Dim, Value, element_count

from .operators import (
    AddBias,
    Linear,
    MatMul,
    Rows,
    RowsAttributes,
    SumAttributes,
    Transpose,
    WeightedSum,
)


def _dtype_decline(call: Call, first: str) -> Decline | None:
    dtype = call[first].type.dtype
    if not dtype.is_floating:
        return Decline(f"matrix products are computed on floating point, not on {dtype}")
    for name, value in call.arguments.items():
        if isinstance(value, Value) and value.type.dtype != dtype:
            return Decline(f"{name} is {value.type.dtype}, {first} {dtype}; dtypes must agree")
    return None


def _supports_linear(call: Call) -> Decline | None:
    source, weight, bias = call["input"].type, call["weight"].type, call["bias"]
    if weight.rank != 2:
        return Decline(f"weight {weight} must be a matrix [N, K]")
    if source.rank < 1 or source.shape[-1] != weight.shape[1]:
        return Decline(f"the last dimension of input {source} does not match weight {weight}")
    if not all(isinstance(dim, int) for dim in weight.shape):
        return Decline(f"weight {weight} must have a static shape")
    if bias is not None and bias.type.shape != (weight.shape[0],):
        return Decline(f"bias {bias.type} must have shape ({weight.shape[0]},)")
    return _constant_decline(call["input"]) or _dtype_decline(call, "input")


def _constant_decline(left: Value) -> Decline | None:
    if isinstance(left, Constant):
        return Decline("the first matrix is known ahead of time; kernels take a computed one")
    return None


def _by_rows(call: Call, source: Value, ranks: tuple[int, ...], product: Callable[[Value], Value]) -> Value:
    """``product`` of ``source``, whose leading dimensions are merged unless it has one of ``ranks``."""
    if source.type.rank in ranks:
        return product(source)
    leading, k = source.type.shape[:-1], source.type.shape[-1]
    rows: Dim = element_count(leading)
    result = product(call.emit(Rows, [source], RowsAttributes((rows, k))))
    return call.emit(Rows, [result], RowsAttributes((*leading, result.type.shape[-1])))


def _convert_linear(call: Call) -> Value:
    weight, bias = call["weight"], call["bias"]

    def with_constant(source: Value) -> Value:
        return call.emit(Linear, [source, weight, *([] if bias is None else [bias])])

    def with_computed(source: Value) -> Value:
        result = call.emit(MatMul, [source, call.emit(Transpose, [weight])])
        return result if bias is None else call.emit(AddBias, [result, bias])

    if isinstance(weight, Constant):
        return _by_rows(call, call["input"], (1, 2), with_constant)
    return _by_rows(call, call["input"], (2,), with_computed)


def _transposed(matrix: Constant, scale: float = 1.0) -> Constant:
    """A constant ``[K, N]`` as the weight ``[N, K]`` of a linear layer, times ``scale``."""
    array = np.ascontiguousarray(matrix.array.T)
    return Constant(f"{matrix.name}_transposed", array if scale == 1 else array.astype(np.float64) * scale)


def _supports_matrices(call: Call, first: str, second: str) -> Decline | None:
    left, right = call[first].type, call[second].type
    if left.rank != 2 or right.rank != 2:
        return Decline(f"only products of two matrices have kernels, not {left} with {right}")
    if left.shape[1] != right.shape[0]:
        return Decline(f"{left} and {right} do not fit together")
    if not isinstance(right.shape[1], int) or not isinstance(left.shape[1], int):
        return Decline(f"only the rows of {left} may be dynamic in a product with {right}")
    return _constant_decline(call[first]) or _dtype_decline(call, first)


def _product(call: Call, left: Value, right: Value) -> Value:
    if isinstance(right, Constant):
        weight = _transposed(right)
        return _by_rows(call, left, (1, 2), lambda rows: call.emit(Linear, [rows, weight]))
    return call.emit(MatMul, [left, right])


def _supports_matmul(call: Call) -> Decline | None:
    """Also a tensor of any rank by a constant matrix, which is a linear layer."""
    left, right = call["self"].type, call["other"]
    if left.rank in (0, 2) or right.type.rank != 2 or not isinstance(right, Constant):
        return _supports_matrices(call, "self", "other")
    if left.shape[-1] != right.type.shape[0]:
        return Decline(f"{left} and {right.type} do not fit together")
    return _constant_decline(call["self"]) or _dtype_decline(call, "self")


def _supports_addmm(call: Call) -> Decline | None:
    if not all(isinstance(call[name], (int, float)) for name in ("alpha", "beta")):
        return Decline("alpha and beta must be numbers known ahead of time")
    return _supports_matrices(call, "mat1", "mat2")


def _convert_addmm(call: Call) -> Value:
    added, left, right = call["self"], call["mat1"], call["mat2"]
    alpha, beta = float(call["alpha"]), float(call["beta"])
    is_vector = added.type.rank < 2 or added.type.shape[0] == 1
    if isinstance(right, Constant) and (beta == 0 or (is_vector and isinstance(added, Constant))):
        operands = [left, _transposed(right, alpha)]
        if beta != 0:
            bias = np.broadcast_to(added.array.astype(np.float64) * beta, (1, right.type.shape[1]))
            operands.append(Constant(f"{added.name}_bias", np.ascontiguousarray(bias.reshape(-1))))
        return call.emit(Linear, operands)
    product = _product(call, left, right)
    if beta == 0:  # PyTorch ignores the added tensor then, even where it is NaN
        if alpha == 1:
            return product
        added, alpha, beta = product, alpha / 2, alpha / 2
    if (alpha, beta) == (1, 1):
        return call.emit(AddBias, [product, added])
    return call.emit(WeightedSum, [product, added], SumAttributes(alpha, beta))


CONVERTERS = [
    Converter("aten.linear.default", _convert_linear, _supports_linear),
    Converter("aten.addmm.default", _convert_addmm, _supports_addmm),
    Converter("aten.addmm_.default", _convert_addmm, _supports_addmm),
    Converter(
        "aten.mm.default",
        lambda call: _product(call, call["self"], call["mat2"]),
        lambda call: _supports_matrices(call, "self", "mat2"),
    ),
    Converter(
        "aten.matmul.default",
        lambda call: _product(call, call["self"], call["other"]),
        _supports_matmul,
    ),
]
