"""Capture by ``torch.export``."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, InputKind, OutputKind, TensorArgument
from torch.utils import _pytree as pytree

from ..errors import CaptureError
from ..ir.dims import DimRange
from ..ir.dtypes import DType
from ..ir.value import Constant
from .functional import is_functional_in_effect
from .program import CapturedProgram
from .tensors import array_of, dtype_of

_NO_FLOAT64 = "engines take and give float32, float16 or bfloat16: convert model and inputs by .float()"


def capture(
    model: torch.nn.Module,
    example_inputs: Sequence[torch.Tensor],
    *,
    dynamic: Mapping[int, Mapping[int, str]] | None = None,
    symbols: Mapping[str, DimRange] | None = None,
    input_names: Sequence[str] | None = None,
    name: str | None = None,
) -> CapturedProgram:
    """Export ``model`` in eval mode and return it as a functional ATen graph.

    :param example_inputs: tensors of the shapes and dtypes that the engine will take.
    :param dynamic: for an input's position, the name of the symbol on each dynamic dimension.
    :param symbols: the range of each symbol.
    :param input_names: names of the inputs; default: the parameters of ``model.forward``.

    The model's training flags and weights are left as they were. Operators are kept as the
    model calls them; nothing is decomposed. Raises :class:`CaptureError`.
    """
    dynamic, symbols = dynamic or {}, symbols or {}
    if not isinstance(model, torch.nn.Module):
        raise CaptureError(f"the model is a {type(model).__name__}, not a torch.nn.Module")
    for position, tensor in enumerate(example_inputs):
        if not isinstance(tensor, torch.Tensor):
            raise CaptureError(f"example input {position} is a {type(tensor).__name__}, not a torch.Tensor")
        if tensor.dtype is torch.float64:
            raise CaptureError(f"example input {position} is float64; {_NO_FLOAT64}")
        if tensor.numel() == 0:
            raise CaptureError(f"example input {position} of shape {tuple(tensor.shape)} holds no elements")
    examples = tuple(
        _with_room(tensor, dynamic.get(position, {}), symbols)
        for position, tensor in enumerate(example_inputs)
    )
    exported = _export(model, examples, dynamic, symbols)
    graph = exported.graph
    if not is_functional_in_effect(graph):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exported = exported.run_decompositions({})
        graph = exported.graph
    names = names_of_inputs(model, len(examples), input_names)
    outputs, structure = _outputs(exported)
    return CapturedProgram(
        name=name or type(model).__name__.lower(),
        graph=graph,
        constants=_constants(exported),
        input_names=dict(zip(_user_inputs(exported), names, strict=True)),
        output_dtypes=outputs,
        output_structure=structure,
        symbols=dict(symbols),
        symbol_names=_symbol_names(exported, dynamic),
    )


def _with_room(
    tensor: torch.Tensor, axes: Mapping[int, str], symbols: Mapping[str, DimRange]
) -> torch.Tensor:
    """The example with at least 2 along dynamic dimensions: the exporter takes 1 for a constant."""
    for axis, symbol in axes.items():
        if symbol not in symbols:
            raise CaptureError(f"dimension {axis} is called {symbol!r}, which has no declared range")
        if tensor.shape[axis] < 2 <= symbols[symbol].max:
            tensor = tensor.repeat_interleave(2, axis)
    return tensor


@contextmanager
def _eval_mode(model: torch.nn.Module) -> Iterator[None]:
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, flag in training.items():
            module.training = flag


def _export(
    model: torch.nn.Module,
    examples: tuple[torch.Tensor, ...],
    dynamic: Mapping[int, Mapping[int, str]],
    symbols: Mapping[str, DimRange],
) -> ExportedProgram:
    dims = {
        name: torch.export.Dim(name, min=limits.min, max=limits.max)
        for name, limits in symbols.items()
        if limits.max > 1
    }
    flat = tuple(
        {axis: dims[symbol] for axis, symbol in dynamic.get(position, {}).items() if symbol in dims} or None
        for position in range(len(examples))
    )
    named = _positional_count(model)
    shapes = flat if named is None else (*flat[:named], flat[named:])
    with _eval_mode(model), warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            return torch.export.export(
                model, examples, dynamic_shapes=shapes if any(flat) else None, strict=False
            )
        except Exception as error:
            raise CaptureError(
                f"torch.export cannot capture {type(model).__name__}: {error}\n"
                "Make the model exportable (no data-dependent control flow, no Python side effects), "
                "or declare the dimension that it specializes on as static."
            ) from error


def _positional_count(model: torch.nn.Module) -> int | None:
    """How many parameters come before ``*args`` of ``forward``; None when it has none."""
    kinds = [parameter.kind for parameter in inspect.signature(model.forward).parameters.values()]
    return (
        kinds.index(inspect.Parameter.VAR_POSITIONAL) if inspect.Parameter.VAR_POSITIONAL in kinds else None
    )


def names_of_inputs(model: torch.nn.Module, count: int, given: Sequence[str] | None = None) -> list[str]:
    """``given``, else the parameters of ``model.forward``; raises :class:`CaptureError`."""
    names = list(given) if given else _forward_names(model, count)
    if len(names) != count:
        raise CaptureError(f"{len(names)} input names were given for {count} example inputs")
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise CaptureError(f"inputs share the name {', '.join(repeated)}")
    return names


def _forward_names(model: torch.nn.Module, count: int) -> list[str]:
    parameters = [
        p.name for p in inspect.signature(model.forward).parameters.values() if p.kind not in (2, 4)
    ]
    return parameters[:count] if len(parameters) >= count else [f"input{i}" for i in range(count)]


def _user_inputs(exported: ExportedProgram) -> list[str]:
    specs = exported.graph_signature.input_specs
    return [s.arg.name for s in specs if s.kind is InputKind.USER_INPUT and isinstance(s.arg, TensorArgument)]


def _constants(exported: ExportedProgram) -> dict[str, Constant]:
    """A constant per parameter or buffer; tensors that share memory and shape are one."""
    constants: dict[str, Constant] = {}
    known: dict[Any, Constant] = {}
    for spec in exported.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            continue
        name = str(spec.target)
        tensor = exported.state_dict.get(name, exported.constants.get(name))
        if not isinstance(tensor, torch.Tensor):
            raise CaptureError(f"{name} is a {type(tensor).__name__}; only tensors can be constants")
        key = (tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)
        if key not in known or tensor.numel() == 0:
            known[key] = Constant(name, array_of(tensor))
        constants[spec.arg.name] = known[key]
    return constants


def _outputs(exported: ExportedProgram) -> tuple[tuple[Any, ...], str]:
    specs = exported.graph_signature.output_specs
    mutated = [s.target for s in specs if s.kind is not OutputKind.USER_OUTPUT]
    if mutated:
        raise CaptureError(f"the model changes {', '.join(map(str, mutated))} when it runs; an engine cannot")
    for index, spec in enumerate(specs):
        if not isinstance(spec.arg, TensorArgument):
            found = repr(spec.arg.value) if isinstance(spec.arg, ConstantArgument) else str(spec.arg)
            raise CaptureError(f"output {index} is {found}, not a tensor; return tensors only")
    nodes = next(node for node in exported.graph.nodes if node.op == "output").args[0]
    dtypes = tuple(dtype_of(node.meta["val"].dtype) for node in nodes)
    for position, dtype in enumerate(dtypes):
        if dtype is DType.float64:
            raise CaptureError(f"output {position} is float64; {_NO_FLOAT64}")
    assert exported.call_spec.out_spec is not None
    try:
        return dtypes, pytree.treespec_dumps(exported.call_spec.out_spec)
    except NotImplementedError as error:  # a class that another process could not make again
        raise CaptureError(
            f"the structure of the outputs cannot be saved: {error}\nReturn tensors in tuples, lists and "
            "dictionaries."
        ) from error


def _symbol_names(exported: ExportedProgram, dynamic: Mapping[int, Mapping[int, str]]) -> dict[str, str]:
    """The exporter's own symbol behind each dimension that was declared dynamic."""
    nodes = {node.name: node for node in exported.graph.nodes if node.op == "placeholder"}
    names: dict[str, str] = {}
    for position, placeholder in enumerate(_user_inputs(exported)):
        for axis, declared in dynamic.get(position, {}).items():
            size = nodes[placeholder].meta["val"].shape[axis]
            if isinstance(size, torch.SymInt):
                names[str(size.node.expr)] = declared
    return names
