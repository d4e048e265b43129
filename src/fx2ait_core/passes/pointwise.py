"""From pointwise operators of plugins to programs, and fusion of those by trait."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from ..errors import KernelError, PluginError
from ..extend.contributions import PassContext, PointwiseExpression
from ..ir.dims import Shape
from ..ir.fused import FusedPointwise, ProgramAttributes
from ..ir.graph import Graph
from ..ir.operator import Attributes, Operator
from ..ir.pointwise import PointwiseProgram, PointwiseStep
from ..ir.traits import AffineChannels, Epilogue, Pointwise
from ..ir.types import TensorType
from ..ir.value import Constant, Value

MAX_OPERANDS = 8
ADD = PointwiseStep("core.add", "{0} + {1}", (0, 1))


def literal(value: object) -> str:
    """An attribute as a float literal of C; infinities and NaN by the compiler's constants.

    What is too large or too small for float32 becomes infinity or zero, as it does in PyTorch.
    """
    number = float(value)  # type: ignore[arg-type]
    with np.errstate(over="ignore", under="ignore"):
        single = float(np.float32(number))
    if single == 0.0 or abs(single) == float("inf"):
        number = single
    if number != number:  # noqa: PLR0124
        return '__builtin_nanf("")'
    if number in (float("inf"), float("-inf")):
        return f"({'-' if number < 0 else ''}__builtin_inff())"
    text = repr(number)
    text = text if any(mark in text for mark in ".e") else f"{text}.0"
    return f"({text}f)" if text.startswith("-") else f"{text}f"


def attribute_literals(attributes: Attributes) -> dict[str, str]:
    """The numbers among the attributes as literals of C, by name."""
    held = {field.name: getattr(attributes, field.name) for field in fields(attributes)}
    return {name: literal(value) for name, value in held.items() if isinstance(value, int | float)}


def form_programs(graph: Graph, context: PassContext) -> None:
    """Turn every pointwise operator into a :class:`FusedPointwise` of one step."""
    for position, operator in enumerate(graph.operators):
        if operator.trait(Pointwise) is None:
            continue
        expression = context.registry.expression(operator.kind, context.target.name)
        if expression is None:
            raise KernelError(
                f"{str(operator.origin) or operator.name}: no installed plugin has an expression of "
                f"{operator.kind} for target {context.target.name}"
            )
        arity = len(operator.operands)
        step = PointwiseStep(operator.kind, _filled_in(expression, operator), tuple(range(arity)))
        graph.operators[position] = _replacement(
            graph, operator, operator.operands, PointwiseProgram(arity, (step,))
        )


def _filled_in(expression: PointwiseExpression, operator: Operator) -> str:
    """The expression with attributes as literals and a placeholder for each operand."""
    placeholders = [f"{{{index}}}" for index in range(len(operator.operands))]
    try:
        return expression.expression.format(*placeholders, **attribute_literals(operator.attributes))
    except (IndexError, KeyError, ValueError) as error:
        raise PluginError(
            f"the expression of {operator.kind}, {expression.expression!r}, cannot be filled in "
            f"({type(error).__name__}: {error}); braces hold operand numbers or names of numeric attributes"
        ) from error


def _replacement(
    graph: Graph, operator: Operator, operands: Sequence[Value], program: PointwiseProgram
) -> FusedPointwise:
    """A fused operator that takes over the result value of ``operator``; equal operands become one."""
    distinct = list(dict.fromkeys(operands))
    program = program.rewired([distinct.index(v) for v in operands], len(distinct))
    fused = FusedPointwise(distinct, ProgramAttributes(program), name=operator.name, origin=operator.origin)
    fused.results = [operator.result]
    operator.result.producer = fused
    return fused


def bias_to_epilogue(graph: Graph, context: PassContext) -> None:
    """``op(x, w, b) => op(x, w) + b`` where the operator has an epilogue.

    So that kernels know one way only in which something is added to a result.
    """
    for operator in graph.operators:
        affine = operator.trait(AffineChannels)
        if affine is None or operator.trait(Epilogue) is None or len(operator.operands) <= affine.bias:
            continue
        bias = operator.operands.pop(affine.bias)
        program = operator.epilogue or PointwiseProgram(1)
        addition = PointwiseProgram(2, (ADD,))
        operator.epilogue = addition.then(program, 0)
        operator.epilogue_operands = [_as_channels(bias, operator.result.type), *operator.epilogue_operands]


def _as_channels(bias: Value, result: TensorType) -> Value:
    """The bias shaped so that it broadcasts along the result's channels."""
    if not isinstance(bias, Constant) or result.rank <= 2:
        return bias
    shape = (-1, *(1,) * (result.rank - 2))
    return Constant(bias.name, bias.array.reshape(shape))


def _channel_axis(result: TensorType) -> int:
    return 1 if result.rank > 2 else result.rank - 1


def _full_rank(operand: Value, result: TensorType) -> Shape:
    """The operand's shape with the leading dimensions of size 1 that broadcasting gives it."""
    return (1,) * (result.rank - operand.type.rank) + operand.type.shape


def _as_epilogue_operand(operand: Value, result: TensorType) -> Value:
    """The operand in the result's rank where it is read element by element."""
    shape = _full_rank(operand, result)
    if shape != result.shape or operand.type.rank == result.rank or not isinstance(operand, Constant):
        return operand
    return Constant(operand.name, operand.array.reshape([int(dim) for dim in shape]))


def _fits_epilogue(operand: Value, result: TensorType) -> bool:
    if operand.type.rank > result.rank or not operand.type.dtype.is_floating:
        return False
    shape = _full_rank(operand, result)
    if all(dim == 1 for dim in shape):
        return True
    if shape == result.shape:  # element by element: in the result's layout, hence of its rank
        return operand.type.rank == result.rank or isinstance(operand, Constant)
    channel = _channel_axis(result)
    return all(dim == (result.shape[axis] if axis == channel else 1) for axis, dim in enumerate(shape))


def fuse_pointwise(graph: Graph, context: PassContext) -> None:
    """Absorb pointwise programs into the operator before them.

    ``pointwise(op(…), extra…) => op(…) with epilogue`` for any operator with an epilogue, and
    ``pointwise(pointwise(…), …) => pointwise(…)``. The absorbed result must have no other reader
    and the shape of the whole. Of two operators that could absorb, the later one does: the other
    one's result becomes an operand of its epilogue.
    """
    index = 0
    while index < len(graph.operators):
        operator = graph.operators[index]
        if isinstance(operator, FusedPointwise):
            producer = _absorbing(graph, operator)
            if producer is not None:
                before = graph.operators.index(producer)
                _fuse(graph, producer, operator)
                index -= 1 if before < index else 0
                continue
        index += 1


def _absorbing(graph: Graph, operator: FusedPointwise) -> Operator | None:
    """The last producer that can take ``operator`` into its epilogue or program."""
    order = {made: position for position, made in enumerate(graph.operators)}
    candidates = []
    for operand in operator.operands:
        producer = operand.producer
        if producer is None or producer not in order or len(producer.results) != 1:
            continue
        if operand.type.shape != operator.result.type.shape or graph.use_count(operand) != 1:
            continue
        others = [value for value in operator.operands if value is not operand]
        if isinstance(producer, FusedPointwise):
            fits = len(set(producer.operands) | set(others)) <= MAX_OPERANDS
        else:
            fits = producer.trait(Epilogue) is not None and all(
                _fits_epilogue(value, operator.result.type) for value in others
            )
            fits = fits and len(producer.epilogue_operands) + len(others) <= MAX_OPERANDS
        if fits:
            candidates.append(producer)
    return max(candidates, key=order.__getitem__, default=None)


def _fuse(graph: Graph, producer: Operator, operator: FusedPointwise) -> None:
    program = operator.attributes.program  # type: ignore[attr-defined]
    slot = operator.operands.index(producer.result)
    others = [value for value in operator.operands if value is not producer.result]
    position = graph.operators.index(operator)
    if isinstance(producer, FusedPointwise):
        inner = producer.attributes.program  # type: ignore[attr-defined]
        fused = _replacement(graph, operator, [*producer.operands, *others], inner.then(program, slot))
        fused.origin = producer.origin.merged(operator.origin)
        graph.operators[position] = fused
        graph.remove(producer)
        return
    own = producer.epilogue or PointwiseProgram(1)
    producer.epilogue = own.then(program, slot)
    taken = [_as_epilogue_operand(value, operator.result.type) for value in others]
    producer.epilogue_operands = [*producer.epilogue_operands, *taken]
    producer.origin = producer.origin.merged(operator.origin)
    producer.results = [operator.result]
    operator.result.producer = producer
    graph.operators[position] = producer
    del graph.operators[graph.operators.index(producer)]
