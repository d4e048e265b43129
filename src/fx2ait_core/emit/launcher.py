"""The C++ face of a kernel: its launcher's signature and its epilogue."""

from __future__ import annotations

from ..extend.problem import OperandSpec, Problem
from ..ir.pointwise import PointwiseProgram
from ..ir.types import TensorType


def c_type(type: TensorType, problem: Problem) -> str:
    """The element type in the target's C++."""
    return str(problem.target["c_types"][type.dtype])


def parameters(problem: Problem) -> list[str]:
    """The launcher's parameters: results, operands, epilogue operands, workspace, sizes, context."""
    many = len(problem.results) > 1
    declared = [
        f"{c_type(result, problem)}* result{index if many else ''}"
        for index, result in enumerate(problem.results)
    ]
    declared += [_operand(operand, operand.name, problem) for operand in problem.operands]
    declared += [_operand(operand, f"e{i}", problem) for i, operand in enumerate(problem.epilogue_operands)]
    declared.append("void* workspace")
    declared += [f"int64_t {symbol}" for symbol, _ in problem.symbols]
    declared.append(problem.target["launch_context"])
    return declared


def signature(name: str, problem: Problem) -> str:
    """The launcher's declaration without its semicolon.

    It has C linkage, so that its symbol is ``name`` in whichever namespace a unit puts the kernel.
    """
    return f'extern "C" void {name}(\n    ' + ",\n    ".join(parameters(problem)) + ")"


def _operand(operand: OperandSpec, name: str, problem: Problem) -> str:
    if operand.external:
        return f"const fx2ait::ExternalTensor& {name}"
    return f"const {c_type(operand.type, problem)}* {name}"


def epilogue_access(operand: OperandSpec, result: TensorType) -> str:
    """How an epilogue operand is indexed: ``"scalar"``, ``"channel"`` or ``"element"``.

    Raises ``ValueError`` for any other broadcasting, which an epilogue does not offer.
    """
    shape = (1,) * (result.rank - operand.type.rank) + operand.type.shape
    if all(dim == 1 for dim in shape):
        return "scalar"
    if shape == result.shape and operand.type.layout == result.layout:
        return "element"
    channel = 1 if result.rank > 2 else result.rank - 1
    if all(dim == (result.shape[axis] if axis == channel else 1) for axis, dim in enumerate(shape)):
        return "channel"
    raise ValueError(f"{operand.type} is neither an element, a channel nor a scalar of {result}")


_INDEX = {"scalar": "", "channel": " + channel", "element": " + offset"}
_DESCRIPTION = {"scalar": "one element", "channel": "one per channel", "element": "laid out as the result"}


def epilogue_struct(problem: Problem) -> str:
    """``struct Epilogue``: loads the epilogue's operands and applies the program to V elements.

    ``load<V>(offset, channel)`` takes the linear offset of the first element in what the operator
    computes (the result, unless a window reduces it) and its channel, and keeps elements as they are
    in memory, so that loading early costs no more registers than it must; ``apply<V>(x, operands)``
    computes in float32 in place. Vectors run along the dimension that is fastest in memory, which
    must be the channel for V > 1.
    """
    device = problem.target["device_function"]
    element_loop = problem.target["element_loop"]
    accesses = [epilogue_access(operand, problem.computed) for operand in problem.epilogue_operands]
    names = [f"e{index}" for index in range(len(accesses))]
    lines = [f"/// {problem.epilogue}, x0 being the accumulator.", "struct Epilogue {"]
    for name, access, operand in zip(names, accesses, problem.epilogue_operands, strict=True):
        lines.append(f"  const {c_type(operand.type, problem)}* {name};  // {_DESCRIPTION[access]}")
    lines += ["", "  template <int V>", "  struct Operands {"]
    for name, access, operand in zip(names, accesses, problem.epilogue_operands, strict=True):
        width = "1" if access == "scalar" else "V"
        lines.append(f"    fx2ait::Packed<{c_type(operand.type, problem)}, {width}> {name};")
    lines += ["  };", "", "  template <int V>"]
    lines += [f"  {device} Operands<V> load([[maybe_unused]] int64_t offset,"]
    lines += [f"{' ' * len(f'  {device} Operands<V> load(')}[[maybe_unused]] int channel) const {{"]
    lines += ["    Operands<V> operands;"]
    for name, access in zip(names, accesses, strict=True):
        lines.append(f"    operands.{name}.load({name}{_INDEX[access]});")
    statements, result = problem.epilogue.statements(
        [
            "x[i]",
            *(f"operands.{n}[{'0' if a == 'scalar' else 'i'}]" for n, a in zip(names, accesses, strict=True)),
        ]
    )
    lines += ["    return operands;", "  }", "", "  template <int V>"]
    lines += [f"  {device} void apply([[maybe_unused]] float (&x)[V],"]
    lines += [f"{' ' * len(f'  {device} void apply(')}[[maybe_unused]] const Operands<V>& operands) const {{"]
    if statements:
        lines += [element_loop, "    for (int i = 0; i < V; ++i) {"]
        lines += [f"      {statement}" for statement in statements]
        lines += [f"      x[i] = {result};", "    }"]
    lines += ["  }", "};"]
    return "\n".join(lines)


def epilogue_initializer(problem: Problem) -> str:
    """``Epilogue{e0, e1}``: the epilogue made from the launcher's parameters."""
    return "Epilogue{" + ", ".join(f"e{i}" for i in range(len(problem.epilogue_operands))) + "}"


def finish_struct(problem: Problem) -> str:
    """``struct Finish``: ``apply<V>(x)`` evaluates on V reduced elements, in float32 and in place,
    what follows the window of the problem. Without a window, and by the ``identity`` flag, nothing does."""
    program = problem.window.finish if problem.window is not None else PointwiseProgram(1)
    statements, result = program.statements(["x[i]"])
    lines = [f"/// {program}, x0 being the reduced element." if statements else "/// Nothing follows."]
    lines += ["struct Finish {", f"  static constexpr bool identity = {str(program.is_identity).lower()};"]
    lines += ["", "  template <int V>"]
    lines += [f"  static {problem.target['device_function']} void apply([[maybe_unused]] float (&x)[V]) {{"]
    if statements:
        lines += [problem.target["element_loop"], "    for (int i = 0; i < V; ++i) {"]
        lines += [*(f"      {statement}" for statement in statements), f"      x[i] = {result};", "    }"]
    return "\n".join([*lines, "  }", "};"])
