"""Choose the order in memory of every value, and convert where two choices meet."""

from __future__ import annotations

from ..errors import IRError, KernelError
from ..extend.contributions import PassContext
from ..ir.fused import FusedPointwise, ProgramAttributes
from ..ir.graph import Graph
from ..ir.layouts import Layout, channels_last, row_major
from ..ir.operator import Operator
from ..ir.pointwise import PointwiseProgram
from ..ir.relabel import Relabel, RelabelAttributes, equivalent
from ..ir.traits import ChannelsLast, Epilogue, RowMajor, View
from ..ir.value import Constant, Input, Value


def assign_layouts(graph: Graph, context: PassContext) -> None:
    """One pass in execution order.

    Operators that ask for a layout by trait get it, at most one conversion per value and layout;
    the others take the layout of their operands, so that channels-last spreads. Inputs are read
    as the caller has them by kernels that declare so (:attr:`Kernel.external_operands`); for the
    others they are converted once.
    """
    assigner = _Assigner(graph, context)
    for operator in list(graph.operators):
        assigner.visit(operator)


class _Assigner:
    def __init__(self, graph: Graph, context: PassContext) -> None:
        self.graph = graph
        self.context = context
        self.converted: dict[tuple[Value, Layout], Value] = {}

    def visit(self, operator: Operator) -> None:
        view = operator.trait(View)
        if view is not None:
            self._visit_view(operator, view)
            return
        wanted = self._wanted(operator)
        for position, operand in enumerate(operator.operands):
            if isinstance(operand, Input) and self.reads_external(operator, position):
                continue
            layout = wanted[position]
            if isinstance(operand, Input) or layout is not None:
                converted = self.convert(operand, layout or operand.type.layout, operator)
                operator.operands[position] = converted
        result_layout = self._result_layout(operator)
        for result in operator.results:
            fits = result_layout is not None and result_layout.rank == result.type.rank
            layout = result_layout if fits and result_layout is not None else row_major(result.type.rank)
            result.type = result.type.with_layout(layout)
        for position, operand in enumerate(operator.epilogue_operands):
            result = operator.result
            layout = result.type.layout if operand.type.shape == result.type.shape else operand.type.layout
            operator.epilogue_operands[position] = self.convert(operand, layout, operator)

    def convert(self, value: Value, layout: Layout, reader: Operator | None) -> Value:
        """``value`` in ``layout``; inserted before ``reader``, or at the end of the graph."""
        if isinstance(value, Constant):
            return value if value.type.layout == layout else value.stored_as(layout=layout)
        external = isinstance(value, Input)
        if external and not value.type.dtype.is_floating:
            raise _unreadable(value, f"{str(reader.origin) or reader.name}: {reader.kind}" if reader else "")
        if value.type.layout == layout and not external:
            return value
        if (value, layout) in self.converted:
            return self.converted[value, layout]
        origin = value.producer.origin if value.producer else None
        name = self.graph.fresh_name(f"{value.name}_{layout}")
        made: Operator
        if equivalent(value.type, layout) and not external:
            made = Relabel([value], RelabelAttributes(layout), name=name, origin=origin)
        else:
            made = FusedPointwise([value], ProgramAttributes(PointwiseProgram(1)), name=name, origin=origin)
            made.result.type = value.type.with_layout(layout)
            if external and value.type.dtype.is_floating:
                made.result.type = made.result.type.with_dtype(self.context.precision)
        if reader is None:
            self.graph.operators.append(made)
        else:
            self.graph.insert_before(reader, made)
        self.converted[value, layout] = made.result
        return made.result

    def _visit_view(self, operator: Operator, view: View) -> None:
        operand = operator.operands[0]
        if view.requires_row_major:
            operand = self.convert(operand, row_major(operand.type.rank), operator)
        elif isinstance(operand, Input):
            operand = self.convert(operand, operand.type.layout, operator)
        operator.operands[0] = operand
        layout = (
            row_major(operator.result.type.rank)
            if view.requires_row_major
            else operator.result_layouts([operand.type], operator.attributes)
        )
        if layout.rank != operator.result.type.rank:
            raise IRError(f"{operator.kind}: its result layout {layout} does not fit {operator.result.type}")
        operator.result.type = operator.result.type.with_layout(layout).with_dtype(operand.type.dtype)

    def reads_external(self, operator: Operator, position: int) -> bool:
        kernels = self.context.registry.kernels(operator.kind, self.context.target.name)
        return any(position in offer.value.external_operands for offer in kernels)

    def _wanted(self, operator: Operator) -> list[Layout | None]:
        """The layout that each operand must have; None where any will do."""
        count = len(operator.operands)
        last = operator.trait(ChannelsLast)
        if last is not None:
            ranks = [operand.type.rank for operand in operator.operands]
            return [channels_last(ranks[i]) if i in last.operands else None for i in range(count)]
        if operator.trait(RowMajor) is not None:
            return [row_major(operand.type.rank) for operand in operator.operands]
        if isinstance(operator, FusedPointwise):
            return [None] * count
        shared = self._prevailing(operator)
        return [shared] * count

    def _result_layout(self, operator: Operator) -> Layout | None:
        if operator.trait(ChannelsLast) is not None:
            return channels_last(operator.result.type.rank)
        if operator.trait(RowMajor) is not None:
            return row_major(operator.result.type.rank)
        return self._prevailing(operator)

    def _prevailing(self, operator: Operator) -> Layout:
        """Channels-last (or another order) if an operand of the result's rank has it, else row-major."""
        rank = operator.result.type.rank
        for operand in operator.operands:
            if operand.type.rank == rank and not operand.type.layout.is_row_major:
                same_shape = operand.type.shape == operator.result.type.shape
                if same_shape or not isinstance(operator, FusedPointwise):
                    return operand.type.layout
        return row_major(rank)


def _unreadable(value: Value, reader: str) -> KernelError:
    return KernelError(
        f"{reader or 'an output'} reads the input {value.name} {value.type}; what is not floating point is "
        "taken only by kernels that read inputs as the caller has them"
    )


def _stores_any_dtype(producer: Operator) -> bool:
    """Kernels that compute in float32 round to whatever the result is; others move elements as they are."""
    computes = producer.trait(Epilogue) is not None or producer.trait(RowMajor) is not None
    return isinstance(producer, FusedPointwise) or computes


def finish_outputs(graph: Graph, context: PassContext) -> None:
    """Give every output the model's dtype, row-major order and memory of its own.

    Where its producer can write it so, it does; otherwise one conversion is appended.
    """
    assigner = _Assigner(graph, context)
    for position, output in enumerate(graph.outputs):
        dtype = graph.output_dtypes[position]
        producer = output.producer
        own = (
            producer is not None
            and producer.trait(View) is None
            and len(producer.results) == 1
            and graph.use_count(output) == 1
            and (output.type.layout.is_row_major or isinstance(producer, FusedPointwise))
            and (output.type.dtype == dtype or _stores_any_dtype(producer))
        )
        if own:
            output.type = output.type.with_dtype(dtype).with_layout(row_major(output.type.rank))
            continue
        if isinstance(output, Input) and not output.type.dtype.is_floating:
            raise _unreadable(output, "")
        program = ProgramAttributes(PointwiseProgram(1))
        origin = producer.origin if producer else None
        copy = FusedPointwise(
            [output], program, name=graph.fresh_name(f"{output.name}_output"), origin=origin
        )
        copy.result.type = output.type.with_layout(row_major(output.type.rank)).with_dtype(dtype)
        if isinstance(output, Input) and not assigner.reads_external(copy, 0):
            copy.operands[0] = assigner.convert(output, output.type.layout, None)
        graph.operators.append(copy)
        graph.outputs[position] = copy.result
