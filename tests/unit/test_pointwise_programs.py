"""Composition of pointwise programs, checked by evaluating them."""

from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from fx2ait_core.ir.pointwise import PointwiseProgram, PointwiseStep

EXPRESSIONS = ["({0} + {1})", "({0} - 2 * {1})", "({0} * {1} % 1009)"]


def evaluated(program: PointwiseProgram, inputs: list[int]) -> int:
    names = {f"x{i}": value for i, value in enumerate(inputs)}
    statements, result = program.statements(list(names))
    for statement in statements:
        name, _, text = statement.removeprefix("const float ").removesuffix(";").partition(" = ")
        names[name] = eval(text, {}, dict(names))
    return names[result]


@st.composite
def programs(draw: st.DrawFn) -> PointwiseProgram:
    inputs = draw(st.integers(1, 4))
    steps = []
    for index in range(draw(st.integers(0 if inputs == 1 else 1, 4))):
        slots = st.integers(0, inputs + index - 1)
        steps.append(PointwiseStep("t", draw(st.sampled_from(EXPRESSIONS)), (draw(slots), draw(slots))))
    return PointwiseProgram(inputs, tuple(steps))


numbers = st.integers(-50, 50)


@given(programs(), programs(), st.data())
def test_then_feeds_one_program_into_a_slot_of_the_next(
    first: PointwiseProgram, second: PointwiseProgram, data: st.DataObject
) -> None:
    slot = data.draw(st.integers(0, second.input_count - 1))
    mine = data.draw(st.lists(numbers, min_size=first.input_count, max_size=first.input_count))
    others = data.draw(st.lists(numbers, min_size=second.input_count - 1, max_size=second.input_count - 1))
    fed = [*others[:slot], evaluated(first, mine), *others[slot:]]
    assert evaluated(first.then(second, slot), [*mine, *others]) == evaluated(second, fed)


@given(programs(), st.data())
def test_rewired_reads_inputs_from_other_slots(program: PointwiseProgram, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 5))
    mapping = [data.draw(st.integers(0, count - 1)) for _ in range(program.input_count)]
    values = data.draw(st.lists(numbers, min_size=count, max_size=count))
    assume(not program.is_identity)
    assert evaluated(program.rewired(mapping, count), values) == evaluated(
        program, [values[slot] for slot in mapping]
    )
