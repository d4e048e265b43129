"""The memory planner: buffers alive at once never overlap, and little is wasted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fx2ait_core.plan.memory import ALIGNMENT, Lifetime, aligned, arena_size, assign_offsets, lower_bound


@st.composite
def lifetimes(draw: st.DrawFn) -> list[Lifetime]:
    steps = draw(st.integers(1, 30))
    found = []
    for _ in range(draw(st.integers(0, 40))):
        first = draw(st.integers(0, steps))
        found.append(Lifetime(draw(st.integers(1, 10_000)), first, draw(st.integers(first, steps))))
    return found


@given(lifetimes())
def test_buffers_alive_at_once_never_overlap(buffers: list[Lifetime]) -> None:
    offsets = assign_offsets(buffers)
    placed = list(zip(buffers, offsets, strict=True))
    for index, (one, start) in enumerate(placed):
        assert start % ALIGNMENT == 0
        for other, other_start in placed[index + 1 :]:
            if one.overlaps(other):
                assert start + one.size <= other_start or other_start + other.size <= start


@given(lifetimes())
def test_arena_lies_between_the_lower_bound_and_no_reuse(buffers: list[Lifetime]) -> None:
    size = arena_size(buffers, assign_offsets(buffers))
    assert lower_bound(buffers) <= size <= sum(aligned(buffer.size) for buffer in buffers)


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=30))
def test_a_chain_needs_no_more_than_its_lower_bound(sizes: list[int]) -> None:
    chain = [Lifetime(size, step, step + 1) for step, size in enumerate(sizes)]
    assert arena_size(chain, assign_offsets(chain)) <= 1.5 * lower_bound(chain)


def test_a_residual_network_is_planned_at_its_lower_bound() -> None:
    """Blocks of two convolutions and a skip: three equal buffers are alive at most."""
    blocks = [
        life
        for b in range(8)
        for life in (Lifetime(4096, 2 * b, 2 * b + 2), Lifetime(4096, 2 * b + 1, 2 * b + 2))
    ]
    assert arena_size(blocks, assign_offsets(blocks)) == lower_bound(blocks) == 3 * 4096
