"""The model's own source: its tables, and one launch after the other."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import PlanError
from ..extend.problem import OperandSpec
from ..ir.dims import Shape, c_expression, evaluate
from ..ir.dtypes import DType
from ..ir.types import TensorType
from ..plan.plan import BucketPlan, Launch, Location, PackedConstant, Plan, PlannedKernel, Port
from ..target.backend import Backend
from .identifiers import Identifiers, c_string, one_line
from .launcher import c_type
from .templates import Templates
from .weights import SYMBOL, Weights

MAX_RANK = 8
_WIDTH = 110
_ABI_DTYPES = {
    DType.float16: "half",
    DType.float32: "float32",
    DType.int32: "int32",
    DType.int64: "int64",
    DType.bool: "boolean",
    DType.bfloat16: "bfloat16",
}


def bucket_functions(plan: Plan) -> list[str]:
    """What the function of each bucket is called, e.g. ``run_batch_up_to_32``."""
    names = Identifiers(kernel.name for kernel in plan.kernels)
    return [
        names("run" + "".join(f"_{symbol}_up_to_{size}" for symbol, size in bucket.sizes))
        for bucket in plan.buckets
    ]


def model_source(plan: Plan, backend: Backend, weights: Weights, templates: Templates) -> str:
    """The text of ``model.cpp`` or ``model.cu``; the plan must have passed ``check_plan``."""
    constants = _constant_names(plan.constants)
    exact = _exact_inputs(plan)
    kernels = {kernel.name: kernel for kernel in plan.kernels}
    return templates.render(
        "model.jinja",
        name=one_line(plan.name),
        name_literal=c_string(plan.name),
        arch_literal=c_string(plan.target.arch),
        target=one_line(str(plan.target)),
        precision=plan.precision,
        suffix=backend.source_suffix,
        device_class=backend.device_class,
        device_header=backend.device_header,
        symbols=[
            {"literal": c_string(name), "min": bounds.min, "max": bounds.max} for name, bounds in plan.symbols
        ],
        inputs=[_port(plan, "input", i, port, i in exact) for i, port in enumerate(plan.inputs)],
        outputs=[_port(plan, "output", i, port, True) for i, port in enumerate(plan.outputs)],
        constants=[_constant(c, name, weights) for c, name in zip(plan.constants, constants, strict=True)],
        buckets=[
            _bucket(plan, bucket, function, _Writer(plan, kernels, constants))
            for bucket, function in zip(plan.buckets, bucket_functions(plan), strict=True)
        ],
        weights_symbol=SYMBOL,
        plan=plan,
    )


def port_text(port: Port, plan: Plan) -> str:
    """The shape for people: ``[batch = 1..512, 3, 224, 224]``."""
    ranges = dict(plan.symbols)
    dims = [f"{dim} = {ranges[str(dim)]}" if str(dim) in ranges else str(dim) for dim in port.type.shape]
    return f"[{', '.join(dims)}]"


def _port(plan: Plan, kind: str, index: int, port: Port, exact: bool) -> dict[str, object]:
    names = [name for name, _ in plan.symbols]
    largest = {name: bounds.max for name, bounds in plan.symbols}
    shape = port.type.shape
    return {
        "literal": c_string(port.name),
        "comment": one_line(port.name),
        "dtype": _ABI_DTYPES[port.type.dtype],
        "rank": len(shape),
        "exact": "true" if exact else "false",
        "text": c_string(port_text(port, plan)),
        "maximum": _braced(evaluate(dim, largest) for dim in shape),
        "order": _braced(port.type.layout.order),
        "symbols": _braced(names.index(str(dim)) if str(dim) in names else -1 for dim in shape),
        "function": f"{kind}_{index}_shape",
        "sizes": [(i, name) for i, name in enumerate(names) if name in _free(shape)],
        "dims": [c_expression(dim) for dim in shape],
    }


def _braced(values: object) -> str:
    return "{" + ", ".join(map(str, values)) + "}"  # type: ignore[call-overload]


def _free(shape: Shape) -> set[str]:
    return {symbol.name for dim in shape if not isinstance(dim, int) for symbol in dim.free_symbols}


def _exact_inputs(plan: Plan) -> set[int]:
    """Inputs that some kernel reads through a plain pointer."""
    kernels = {kernel.name: kernel for kernel in plan.kernels}
    return {
        location.position
        for bucket in plan.buckets
        for launch in bucket.launches
        for location, operand in zip(launch.operands, _operands(kernels[launch.kernel]), strict=True)
        if location.space == "input" and not operand.external
    }


def _operands(kernel: PlannedKernel) -> tuple[OperandSpec, ...]:
    return (*kernel.problem.operands, *kernel.problem.epilogue_operands)


def _constant_names(constants: Sequence[PackedConstant]) -> list[str]:
    names = Identifiers()
    return [names(constant.name) for constant in constants]


def _constant(constant: PackedConstant, identifier: str, weights: Weights) -> dict[str, object]:
    array = constant.array
    known = {dtype.value: name for dtype, name in _ABI_DTYPES.items()}
    return {
        "identifier": identifier,
        "literal": c_string(constant.name),
        "comment": f"{array.dtype.name}[{', '.join(map(str, array.shape))}]",
        "dtype": known.get(array.dtype.name, "unset"),
        "bytes": array.nbytes,
        "file_offset": weights.offsets[constant.name],
        "offset": constant.offset,
    }


def _bucket(plan: Plan, bucket: BucketPlan, function: str, writer: _Writer) -> dict[str, object]:
    sizes = dict(bucket.sizes)
    used = {name for launch in bucket.launches for name, _ in writer.kernels[launch.kernel].problem.symbols}
    return {
        "function": function,
        "limits": ", ".join(f"{name} <= {size}" for name, size in bucket.sizes),
        "sizes": [sizes[name] for name, _ in plan.symbols],
        "declared": [(i, name) for i, (name, _) in enumerate(plan.symbols) if name in used],
        "launches": [writer.launch(index, launch) for index, launch in enumerate(bucket.launches)],
        "memory": bucket.memory,
    }


@dataclass
class _Writer:
    """Writes the launches of one bucket, remembering which name each place in the arena has."""

    plan: Plan
    kernels: Mapping[str, PlannedKernel]
    constants: Sequence[str]

    def __post_init__(self) -> None:
        taken = [*self.kernels, *(name for name, _ in self.plan.symbols), "call", "constants"]
        self._names = Identifiers(taken)
        self._places: dict[int, tuple[str, str]] = {}
        offsets = [constant.offset for constant in self.plan.constants]
        self._constants = dict(zip(offsets, self.constants, strict=True))

    def launch(self, index: int, launch: Launch) -> dict[str, object]:
        kernel = self.kernels[launch.kernel]
        problem = kernel.problem
        operands = [
            self._operand(location, operand, c_type(operand.type, problem))
            for location, operand in zip(launch.operands, _operands(kernel), strict=True)
        ]
        declared, results = self._results(launch, problem.results, kernel)
        workspace = f"call.arena<void>({launch.workspace.position})" if launch.workspace else "nullptr"
        arguments = [*results, *operands, workspace, *(name for name, _ in problem.symbols), "call.context()"]
        call = f"{kernel.name}({', '.join(arguments)});"
        wrapped = textwrap.wrap(
            call,
            _WIDTH,
            initial_indent="    ",
            subsequent_indent="        ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        return {
            "index": index,
            "comment": one_line(
                f"{launch.node}: {launch.description}" if launch.description else launch.node
            ),
            "declared": declared,
            "call": "\n".join(wrapped),
            "node": c_string(launch.node),
            "kernel": c_string(kernel.name),
        }

    def _operand(self, location: Location, operand: OperandSpec, element: str) -> str:
        if location.space == "input":
            return f"call.{'input' if operand.external else f'exact_input<{element}>'}({location.position})"
        if location.space == "constant":
            return f"call.constant<{element}>(constants::{self._constants[location.position]})"
        if location.space == "output":
            return f"call.output<{element}>({location.position})"
        name, held = self._places.get(location.position, ("", ""))
        return name if name and held == element else f"call.arena<{element}>({location.position})"

    def _results(
        self, launch: Launch, types: tuple[TensorType, ...], kernel: PlannedKernel
    ) -> tuple[list[str], list[str]]:
        """Declarations of the places that the launch writes, and how the call names them."""
        declared, arguments = [], []
        for location, type in zip(launch.results, types, strict=True):
            element = c_type(type, kernel.problem)
            if location.space == "output":
                arguments.append(f"call.output<{element}>({location.position})")
                continue
            name = self._names(launch.node)
            declared.append(f"auto* const {name} = call.arena<{element}>({location.position});")
            arguments.append(name)
            self._places[location.position] = (name, element)
        return declared, arguments


def check_plan(plan: Plan) -> None:
    """Refuse what cannot be emitted; raises :class:`~fx2ait_core.errors.PlanError` listing all faults."""
    faults = [*_port_faults(plan), *_bucket_faults(plan)]
    kernels = {kernel.name: kernel for kernel in plan.kernels}
    if len(kernels) != len(plan.kernels):
        faults.append("two kernels have the same name")
    for bucket in plan.buckets:
        for launch in bucket.launches:
            faults += [
                f"launch of {launch.kernel} for {launch.node}: {f}"
                for f in _launch_faults(plan, launch, kernels)
            ]
    if faults:
        raise PlanError(f"The plan of {plan.name} cannot be emitted:\n" + "\n".join(f"- {f}" for f in faults))


def _port_faults(plan: Plan) -> list[str]:
    faults = []
    symbols = {name for name, _ in plan.symbols}
    given = {str(dim) for port in plan.inputs for dim in port.type.shape} & symbols
    for name in sorted(symbols - given):
        faults.append(
            f"no input has a dimension that equals {name}, so its size would not be known at run time"
        )
    for port in (*plan.inputs, *plan.outputs):
        if port.type.rank > MAX_RANK:
            faults.append(
                f"{port.name} has rank {port.type.rank}; inputs and outputs have at most {MAX_RANK}"
            )
        if port.type.dtype not in _ABI_DTYPES:
            accepted = ", ".join(map(str, _ABI_DTYPES))
            faults.append(
                f"{port.name} is {port.type.dtype}, which the C ABI lacks; convert to one of {accepted}"
            )
        for unknown in sorted(_free(port.type.shape) - symbols):
            faults.append(f"{port.name} depends on {unknown}, which is no symbol of the plan")
    return faults


def _bucket_faults(plan: Plan) -> list[str]:
    faults = []
    wanted = {name: bounds.max for name, bounds in plan.symbols}
    if not plan.buckets:
        return ["it has no bucket, so no sizes are served"]
    for bucket in plan.buckets:
        if dict(bucket.sizes).keys() != wanted.keys():
            faults.append(f"bucket {bucket.sizes} does not bound each of {', '.join(wanted) or 'no symbols'}")
    largest = dict(plan.buckets[-1].sizes)
    for name, size in wanted.items():
        if largest.get(name, size) < size:
            faults.append(f"the last bucket serves {name} up to {largest[name]}, but {name} may be {size}")
    return faults


def _launch_faults(plan: Plan, launch: Launch, kernels: Mapping[str, PlannedKernel]) -> list[str]:
    if launch.kernel not in kernels:
        return ["no such kernel"]
    kernel = kernels[launch.kernel]
    expected = len(kernel.problem.results), len(_operands(kernel))
    if (len(launch.results), len(launch.operands)) != expected:
        return [
            f"{len(launch.results)} results and {len(launch.operands)} operands; "
            f"the launcher takes {expected[0]} and {expected[1]}"
        ]
    offsets = {constant.offset for constant in plan.constants}
    faults = []
    for location in (*launch.results, *launch.operands, *([launch.workspace] if launch.workspace else [])):
        valid = {
            "input": 0 <= location.position < len(plan.inputs),
            "output": 0 <= location.position < len(plan.outputs),
            "arena": 0 <= location.position <= plan.arena_bytes,
            "constant": location.position in offsets,
        }[location.space]
        if not valid:
            faults.append(f"{location.space} {location.position} does not exist")
    for location in launch.results:
        if location.space not in ("arena", "output"):
            faults.append(f"a result cannot be written to {location.space} {location.position}")
    for location, operand in zip(launch.operands, _operands(kernel), strict=True):
        if operand.external and location.space != "input":
            faults.append(
                f"operand {operand.name} is external but lies in {location.space} {location.position}"
            )
    return faults
