"""Sizes of a problem that share a configuration."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from fx2ait_core.tune.sharing import share

rival_tables = st.lists(
    st.dictionaries(st.tuples(st.sampled_from("abcde")), st.floats(0.5, 2.0), min_size=1),
    min_size=1,
    max_size=5,
)


def test_the_configuration_that_serves_most_sizes_wins():
    rivals = [{("a",): 1.0, ("b",): 1.01}, {("b",): 5.0, ("c",): 5.0}, {("d",): 9.0}]
    assert share(rivals) == [("b",), ("b",), ("d",)]


def test_between_equals_the_least_loss_and_then_the_first_wins():
    assert share([{("a",): 1.02, ("b",): 1.0}, {("a",): 1.0, ("b",): 1.01}]) == [("b",), ("b",)]
    assert share([{("z",): 1.0, ("a",): 1.0}]) == [("z",)]


@given(rival_tables)
def test_every_size_gets_one_of_its_own_and_no_more_than_without_sharing(rivals):
    chosen = share(rivals)
    assert all(key in times for key, times in zip(chosen, rivals, strict=True))
    assert chosen == share([dict(times) for times in rivals]), "equal rivals, equal choice"
    fewest = min(len(set(keys)) for keys in itertools.product(*rivals))
    assert fewest <= len(set(chosen)) <= len(rivals)
    if fewest == 1:
        assert len(set(chosen)) == 1, "one that serves all is found"
