"""Candidates that are outvoted by the answers of the others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fx2ait_core.tune.agreement import FAR, distance, outvoted

NUMBERS = st.floats(-100, 100, width=32)


@given(arrays(np.float32, st.integers(1, 50), elements=NUMBERS), st.integers(0, 2**30))
def test_rounding_is_no_disagreement(answer, seed):
    rounded = answer * (1 + np.random.default_rng(seed).uniform(-(2**-9), 2**-9, answer.shape))
    assert outvoted({"exact": answer, "rounded": rounded.astype(np.float32)}) == {}


@given(st.integers(1, 5), st.integers(0, 4), st.randoms())
def test_the_largest_group_is_right(right, wrong, random):
    truth = np.random.default_rng(random.randrange(2**30)).standard_normal(1000).astype(np.float32)
    answers = {f"right {i}": truth for i in range(right + wrong)} | {
        f"wrong {i}": np.roll(truth, i + 1) for i in range(wrong)
    }
    order = list(answers)
    random.shuffle(order)
    apart = outvoted({name: answers[name] for name in order})
    assert set(apart) == {f"wrong {i}" for i in range(wrong)}
    assert all(far > 1 for far in apart.values())


def test_one_wrong_tile_in_a_thousand_is_seen():
    truth = np.random.default_rng().standard_normal(64_000)
    wrong = truth.copy()
    wrong[640:704] = truth[:64]
    assert FAR < distance(wrong, truth) < 0.1


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_must_be_so_everywhere(odd):
    truth = np.ones(100)
    with_odd = truth.copy()
    with_odd[3] = odd
    assert distance(with_odd, with_odd) == 0
    assert distance(with_odd, truth) == distance(truth, with_odd) == pytest.approx(0.1)


def test_zeros_and_nothing():
    assert distance(np.zeros(5), np.zeros(5)) == 0
    assert distance(np.ones(5), np.zeros(5)) == np.inf
    assert distance(np.zeros(5), np.ones(5)) == 1
    assert distance(np.zeros(0), np.zeros(0)) == 0
    assert outvoted({}) == {}
