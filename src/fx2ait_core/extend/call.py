"""A call of an ATen overload, as a converter sees it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..ir.dims import Dim, Shape
from ..ir.dtypes import DType
from ..ir.operator import NO_ATTRIBUTES, Attributes, Operator, Origin
from ..ir.value import Constant, Value


@dataclass(frozen=True)
class Call:
    """The arguments by the schema's names, defaults filled in, tensors as IR values.

    While a node is only being asked about (partitioning), the values have the right types but
    belong to no graph, and :meth:`emit` must not be called.

    ``results_read``: of an overload with several results, the positions of those that the model
    reads; a converter declines when it cannot compute one of them.
    """

    overload: str
    arguments: Mapping[str, Any]
    result_shape: Shape
    result_dtype: DType | None
    origin: Origin
    name: str
    append: Callable[[Operator], None] | None = None
    results_read: frozenset[int] = frozenset({0})

    def __getitem__(self, argument: str) -> Any:
        return self.arguments[argument]

    def emit(
        self, operator: type[Operator], operands: Sequence[Value], attributes: Attributes = NO_ATTRIBUTES
    ) -> Value:
        """Append an operator and return its (first) result."""
        return self.emit_all(operator, operands, attributes)[0]

    def emit_all(
        self, operator: type[Operator], operands: Sequence[Value], attributes: Attributes = NO_ATTRIBUTES
    ) -> list[Value]:
        """Append an operator and return all its results."""
        if self.append is None:
            raise RuntimeError(f"{self.overload}: a support predicate must not emit operators")
        made = operator(operands, attributes, name=self.name, origin=self.origin)
        self.append(made)
        return made.results

    def constant(self, array: np.ndarray | float, like: Value | None = None) -> Constant:
        """A new constant; a scalar takes the dtype of ``like``."""
        dtype = like.type.dtype.numpy if like is not None else None
        return Constant(f"{self.name}_constant", np.asarray(array, dtype=dtype))

    def shape(self, argument: str) -> tuple[Dim, ...]:
        """Logical shape of a tensor argument."""
        return self.arguments[argument].type.shape
