"""Between torch's tensors, dtypes and symbolic sizes and those of the IR."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import sympy
import torch

from ..errors import CaptureError
from ..ir.dims import Dim, simplify, symbol
from ..ir.dtypes import DType


def dtype_of(dtype: torch.dtype) -> DType:
    """The IR's name for ``dtype``; raises :class:`CaptureError` for one that it does not have."""
    try:
        return DType(str(dtype).removeprefix("torch."))
    except ValueError:
        known = ", ".join(item.value for item in DType)
        raise CaptureError(f"tensors of {dtype} cannot be compiled; the dtypes known are {known}") from None


def array_of(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's elements, sharing memory where it lies on the CPU."""
    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        return tensor.contiguous().view(torch.int16).numpy().view(ml_dtypes.bfloat16)
    dtype_of(tensor.dtype)
    return tensor.numpy()


def dim_of(size: Any, symbol_names: Mapping[str, str]) -> Dim:
    """A size of an exported tensor as a dimension of the IR."""
    if isinstance(size, int):
        return size
    expression = size.node.expr if isinstance(size, torch.SymInt) else sympy.sympify(size)
    replaced = expression.replace(
        lambda e: type(e).__name__ in ("FloorDiv", "CleanDiv"), lambda e: sympy.floor(e.args[0] / e.args[1])
    )
    names = {free: symbol(symbol_names.get(free.name, free.name)) for free in replaced.free_symbols}
    return simplify(replaced.subs(names))
