"""Kernel selection, with a measuring function that answers from a table."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fx2ait_core.errors import KernelError
from fx2ait_core.extend.contributions import Candidate, Kernel, KernelSource
from fx2ait_core.extend.problem import Problem
from fx2ait_core.ir.dtypes import DType
from fx2ait_core.ir.operator import NO_ATTRIBUTES
from fx2ait_core.ir.pointwise import PointwiseProgram
from fx2ait_core.ir.types import tensor_type
from fx2ait_core.target.target import Target
from fx2ait_core.tune.cache import TuningCache
from fx2ait_core.tune.offers import Device, Failed, Offer, Policy, Timed
from fx2ait_core.tune.selection import pruned, select, select_all

DEVICE = Device("a card", "a compiler")


@dataclass(frozen=True)
class Config:
    tile: int


def emit(name, problem, config):
    if config.tile == 666:
        raise ZeroDivisionError("bad template")
    return KernelSource(f"void {name}() {{ /* {config} */ }}")


KERNEL = Kernel("k", "kind", "cpu", lambda p: [], emit, lambda p, c: "k")


def problem(size=8, kind="kind"):
    result = tensor_type((size,), DType.float32)
    return Problem(kind, NO_ATTRIBUTES, (), PointwiseProgram(1), (), (result,), Target("cpu", "x"))


def offers(*estimates, kernel=KERNEL):
    """Tiles 0, 1, … with these estimates."""
    return [Offer(kernel, "dist", Candidate(Config(tile), us)) for tile, us in enumerate(estimates)]


class Table:
    """Measures by tile; a list gives one answer per round; records what it was asked."""

    def __init__(self, times):
        self.times = {tile: list(t) if isinstance(t, list) else [t] for tile, t in times.items()}
        self.asked = []

    def __call__(self, jobs):
        self.asked.append([job.offer.candidate.config.tile for job in jobs])
        for job in jobs:
            answers = self.times[job.offer.candidate.config.tile]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            yield Timed(answer) if isinstance(answer, float) else answer


def tile(choice):
    return choice.candidate.config.tile


def test_the_fastest_measured_wins_against_the_estimates():
    cache, table = TuningCache(None), Table({0: 9.0, 1: 5.0, 2: 7.0})
    choice = select(problem(), offers(1.0, 2.0, 3.0), table, cache, DEVICE)
    assert (tile(choice), choice.microseconds, choice.choice) == (1, 5.0, "measured")
    assert choice.distribution == "dist"
    again = select(problem(), offers(1.0, 2.0, 3.0), table, cache, DEVICE)
    assert (tile(again), again.choice) == (1, "cached")
    assert table.asked == [[0, 1, 2]]


def test_without_a_device_the_best_estimate_wins():
    choice = select(problem(), offers(3.0, 2.0, 4.0), None, TuningCache(None), DEVICE)
    assert (tile(choice), choice.microseconds, choice.choice) == (1, 2.0, "heuristic")


def test_without_a_device_the_cache_is_used_where_it_knows():
    cache = TuningCache(None)
    select(problem(), offers(1.0, 2.0), Table({0: 9.0, 1: 5.0}), cache, DEVICE)
    assert tile(select(problem(), offers(1.0, 2.0), None, cache, DEVICE)) == 1
    # A new candidate was never measured: the old times alone do not decide.
    choice = select(problem(), offers(2.0, 2.5, 1.0), None, cache, DEVICE)
    assert (tile(choice), choice.choice) == (2, "heuristic")


def test_a_new_candidate_is_measured_beside_those_that_are_known():
    cache, table = TuningCache(None), Table({0: 9.0, 1: 5.0, 2: 2.0})
    select(problem(), offers(1.0, 2.0), table, cache, DEVICE)
    assert tile(select(problem(), offers(1.0, 2.0, 2.5), table, cache, DEVICE)) == 2
    assert table.asked == [[0, 1], [0, 1, 2]]


def test_a_new_candidate_that_contradicts_a_known_one_is_not_chosen():
    cache, answers = TuningCache(None), answered([1.0, 2.0], [2.0, 1.0])
    select(problem(), offers(1.0), answers, cache, DEVICE)
    with pytest.warns(RuntimeWarning, match="tile=1.*wrong answer"):
        assert tile(select(problem(), offers(1.0, 1.5), answers, cache, DEVICE)) == 0


@pytest.mark.parametrize("change", ["device", "compiler", "size", "revision", "sizes"])
def test_anything_that_matters_asks_again(change):
    cache, table = TuningCache(None), Table({0: 9.0, 1: 5.0})
    select(problem(), offers(1.0, 2.0), table, cache, DEVICE)
    others = {"device": Device("another", "a compiler"), "compiler": Device("a card", "other")}
    device = others.get(change, DEVICE)
    asked = problem(9) if change == "size" else problem()
    if change == "sizes":
        asked = replace(asked, sizes=(("batch", 3),))
    kernel = replace(KERNEL, revision=2) if change == "revision" else KERNEL
    select(asked, offers(1.0, 2.0, kernel=kernel), table, cache, device)
    assert table.asked == [[0, 1], [0, 1]]


def test_close_calls_are_measured_again_and_the_median_decides():
    table = Table({0: [10.0, 12.0, 12.5], 1: [10.2, 9.8, 9.9], 2: 20.0})
    cache = TuningCache(None)
    choice = select(problem(), offers(1.0, 1.0, 1.0), table, cache, DEVICE)
    assert table.asked[:2] == [[0, 1, 2], [0, 1]]
    assert (tile(choice), choice.microseconds) == (1, 10.0)


def test_settled_close_calls_are_not_measured_at_every_run():
    cache = TuningCache(None)
    requests = [(sized(batch), offers(1.0, 1.0)) for batch in (1, 32)]
    select_all(requests, Table({0: 10.0, 1: 10.1}), cache, DEVICE)
    table = Table({})
    (choice,) = select_all(requests[:1], table, cache, DEVICE)
    assert table.asked == [] and (tile(choice), choice.choice) == (0, "cached")


def test_failing_candidates_are_skipped_named_and_remembered():
    cache, table = TuningCache(None), Table({0: Failed("ptxas: too many registers"), 1: 5.0})
    with pytest.warns(RuntimeWarning, match=r"k Config\(tile=0\) is skipped for kind: ptxas"):
        assert tile(select(problem(), offers(1.0, 2.0), table, cache, DEVICE)) == 1
    table = Table({1: 5.0, 2: 9.0})
    for estimates in (1.0, 2.0, 2.0), (1.0, 2.0, 2.1):  # not the same offers, so that no choice is known
        with pytest.warns(RuntimeWarning, match=r"too many registers \(remembered\)$"):
            assert tile(select(problem(), offers(*estimates), table, cache, DEVICE)) == 1
    assert table.asked == [[1, 2]]


def test_passing_failures_are_tried_again():
    cache = TuningCache(None)
    with pytest.warns(RuntimeWarning, match="disk"):
        select(problem(), offers(1.0, 2.0), Table({0: Failed("disk", lasting=False), 1: 5.0}), cache, DEVICE)
    table = Table({0: 1.0, 1: 5.0, 2: 9.0})
    assert tile(select(problem(), offers(1.0, 2.0, 2.5), table, cache, DEVICE)) == 0


def test_a_template_that_raises_takes_only_its_candidate_down():
    bad = Offer(KERNEL, "dist", Candidate(Config(666), 0.5))
    with pytest.warns(RuntimeWarning, match="ZeroDivisionError: bad template"):
        choice = select(problem(), [bad, *offers(1.0)], Table({0: 2.0}), TuningCache(None), DEVICE)
    assert tile(choice) == 0


def test_when_all_measured_fail_an_unmeasured_one_stands_in():
    table = Table({0: Failed("x")})
    with pytest.warns(RuntimeWarning):
        choice = select(problem(), offers(1.0, 9.0), table, TuningCache(None), DEVICE)
    assert (tile(choice), choice.choice) == (1, "heuristic")


def test_when_all_fail_the_error_lists_them():
    table = Table({0: Failed("first"), 1: Failed("second")})
    with pytest.warns(RuntimeWarning), pytest.raises(KernelError) as caught:
        select(problem(), offers(1.0, 1.5), table, TuningCache(None), DEVICE)
    assert "Config(tile=0): first" in str(caught.value) and "Config(tile=1): second" in str(caught.value)


def test_no_offer():
    with pytest.raises(KernelError, match="kind: no kernel"):
        select(problem(), [], None, TuningCache(None), DEVICE)


def test_a_batch_is_one_call_and_equal_requests_are_served_once():
    table = Table({0: 9.0, 1: 5.0})
    requests = [(problem(size), offers(1.0, 2.0)) for size in (8, 9, 8)]
    first, second, third = select_all(requests, table, TuningCache(None), DEVICE)
    assert table.asked == [[0, 1, 0, 1]]
    assert tile(first) == tile(second) == tile(third) == 1 and first is third


def test_an_interruption_keeps_what_was_compared():
    cache = TuningCache(None)
    requests = [(problem(size), offers(1.0, 2.0)) for size in (8, 9)]

    def interrupted(jobs):
        yield Timed(5.0, np.array([1.0, 2.0]))
        yield Timed(9.0, np.array([1.0, 2.0]))
        yield Timed(5.0, np.array([2.0, 1.0]))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        select_all(requests, interrupted, cache, DEVICE)
    table = Table({0: 9.0, 1: 5.0})
    known, measured = select_all(requests, table, cache, DEVICE)
    assert (tile(known), known.choice) == (0, "cached")
    assert (tile(measured), measured.choice) == (1, "measured")
    assert table.asked == [[0, 1]]


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=40), st.floats(1, 10), st.integers(1, 15))
def test_pruning_keeps_the_best_estimates_within_reach(estimates, within, at_most):
    kept = pruned(offers(*estimates), Policy(within=within, at_most=at_most))
    times = [offer.candidate.estimate_us for offer in kept]
    assert times == sorted(times) and times[0] == min(estimates)
    assert len(kept) <= at_most and times[-1] <= min(estimates) * within
    near = sorted(e for e in estimates if e <= min(estimates) * within)
    assert times == near[:at_most]


@given(st.lists(st.floats(1, 1000), min_size=1, max_size=10))
def test_the_choice_is_the_minimum_of_a_steady_clock(times):
    table = Table(dict(enumerate(times)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        choice = select(problem(), offers(*[1.0] * len(times)), table, TuningCache(None), DEVICE)
    assert choice.microseconds == min(times)


def sized(batch, size=8):
    return replace(problem(size), sizes=(("batch", batch),))


class SizedTable:
    """Measures by batch and tile."""

    def __init__(self, times):
        self.times = times
        self.asked = []

    def __call__(self, jobs):
        for job in jobs:
            key = (dict(job.problem.sizes)["batch"], job.offer.candidate.config.tile)
            self.asked.append(key)
            yield Timed(self.times[key])


def test_sizes_share_a_kernel_that_is_as_fast_for_both():
    times = {(1, 0): 10.0, (1, 1): 10.04, (32, 0): 99.0, (32, 1): 90.0}
    requests = [(sized(batch), offers(1.0, 1.0)) for batch in (1, 32)]
    cache = TuningCache(None)
    chosen = select_all(requests, SizedTable(times), cache, DEVICE)
    assert [tile(choice) for choice in chosen] == [1, 1]
    assert [choice.microseconds for choice in chosen] == [10.04, 90.0]
    again = SizedTable({})
    warm = select_all(requests, again, cache, DEVICE)
    assert [(tile(c), c.choice) for c in warm] == [(1, "cached"), (1, "cached")] and not again.asked
    # Beside no other size the fastest is taken, from times that are known.
    (alone,) = select_all(requests[:1], again, cache, DEVICE)
    assert tile(alone) == 0 and not again.asked


def test_a_faster_kernel_is_not_given_up_for_sharing():
    times = {(1, 0): 10.0, (1, 1): 10.2, (32, 0): 99.0, (32, 1): 90.0}
    requests = [(sized(batch), offers(1.0, 1.0)) for batch in (1, 32)]
    chosen = select_all(requests, SizedTable(times), TuningCache(None), DEVICE)
    assert [tile(choice) for choice in chosen] == [0, 1]


def test_problems_share_nothing_with_other_problems():
    times = {(1, 0): 10.0, (1, 1): 10.04, (32, 0): 99.0, (32, 1): 90.0}
    requests = [(sized(1), offers(1.0, 1.0)), (sized(32, size=9), offers(1.0, 1.0))]
    chosen = select_all(requests, SizedTable(times), TuningCache(None), DEVICE)
    assert [tile(choice) for choice in chosen] == [0, 1]


def test_estimates_share_too_within_their_own_error():
    requests = [(sized(1), offers(1.0, 1.015)), (sized(32), offers(9.0, 5.0))]
    chosen = select_all(requests, None, TuningCache(None), DEVICE)
    assert [(tile(c), c.choice) for c in chosen] == [(1, "heuristic"), (1, "heuristic")]
    strict = Policy(alike_estimates=0.01)
    assert [tile(c) for c in select_all(requests, None, TuningCache(None), DEVICE, strict)] == [0, 1]


def answered(*answers):
    """A table of tiles, each slower than the one before, with these answers."""
    return Table({tile: Timed(5.0 + tile, np.array(answer)) for tile, answer in enumerate(answers)})


def test_a_candidate_that_most_others_contradict_is_not_chosen():
    cache, asked = TuningCache(None), offers(1.0, 2.0, 3.0)
    table = answered([1.0, 2.0, 9.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.01])
    with pytest.warns(
        RuntimeWarning, match=r"tile=0.* is skipped for kind: wrong answer.* the 2 whose answers"
    ):
        choice = select(problem(), asked, table, cache, DEVICE)
    assert tile(choice) == 1
    assert table.asked == [[0, 1, 2]], "it takes no part in further rounds"
    with pytest.warns(RuntimeWarning, match=r"wrong answer.*\(remembered\)"):
        assert tile(select(problem(), asked[:1] + asked[2:], table, cache, DEVICE)) == 2


def test_of_two_that_contradict_each_other_the_better_estimate_is_believed():
    with pytest.warns(RuntimeWarning, match="tile=1.*wrong answer"):
        choice = select(
            problem(), offers(1.0, 2.0), answered([1.0, 2.0], [2.0, 1.0]), TuningCache(None), DEVICE
        )
    assert tile(choice) == 0
