"""Choosing a kernel per problem: by measurement, from the cache, or by the kernels' own estimates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ..errors import KernelError
from ..extend.problem import Problem
from .cache import MeasurementKey, RecordedChoice, TuningCache
from .contest import Contest
from .keys import ChoiceKeys, family_key
from .offers import Choice, Device, Job, Measure, Offer, Policy
from .sharing import share


def select(
    problem: Problem,
    offers: Sequence[Offer],
    measure: Measure | None,
    cache: TuningCache,
    device: Device,
    policy: Policy | None = None,
) -> Choice:
    """As :func:`select_all`, for one problem."""
    return select_all([(problem, offers)], measure, cache, device, policy)[0]


def select_all(
    requests: Sequence[tuple[Problem, Sequence[Offer]]],
    measure: Measure | None,
    cache: TuningCache,
    device: Device,
    policy: Policy | None = None,
) -> list[Choice]:
    """Choose among each problem's offers; equal requests are served once.

    Requests that differ in sizes alone share a configuration where it is as good as the best
    for each (see :func:`~fx2ait_core.tune.sharing.share`).

    All measurements that the cache lacks are asked for in one call, so that their sources can be
    built in parallel; close calls in one more per round. Where a problem lacks one, all its candidates
    are measured, so that their answers can be compared. Candidates that fail, or whose answer most
    others contradict, are skipped with a warning.

    :param measure: None where there is no device: the best estimate wins, unless the cache knows.

    Raises :class:`~fx2ait_core.errors.KernelError` when a problem has no offer, or all fail.
    """
    policy = policy or Policy()
    contests: dict[str, Contest] = {}
    choice_keys = ChoiceKeys(device, policy)
    keys = []
    for problem, offers in requests:
        if not offers:
            raise KernelError(f"{problem.kind}: no kernel offers a configuration on {problem.target}.")
        key = choice_keys.key(problem, offers)
        keys.append(key)
        if key not in contests:
            contests[key] = Contest(problem, pruned(offers, policy), offers)
    families: dict[str, list[str]] = {}
    for key, contest in contests.items():
        families.setdefault(contest.problem.identity, []).append(key)
    chosen: dict[str, Choice] = {}
    for members in families.values():
        known = [_remembered(cache, family_key(key, members), contests[key]) for key in members]
        if all(known):
            chosen |= {key: choice for key, choice in zip(members, known, strict=True) if choice}
    still_open = [members for members in families.values() if members[0] not in chosen]
    _hold([contests[key] for members in still_open for key in members], measure, cache, device, policy)
    for members in still_open:
        rivals = [contests[key].rivals(policy) for key in members]
        times = [{rival: choice.microseconds for rival, choice in found.items()} for found in rivals]
        for key, found, rival in zip(members, rivals, share(times), strict=True):
            choice = chosen[key] = found[rival]
            if choice.choice != "heuristic" and measure is not None:
                cache.record_choice(family_key(key, members), RecordedChoice(*rival, choice.microseconds))
    return [chosen[key] for key in keys]


def pruned(offers: Sequence[Offer], policy: Policy) -> list[Offer]:
    """The offers worth measuring, best estimate first; the order of equal estimates is kept."""
    ordered = sorted(offers, key=lambda offer: offer.candidate.estimate_us)
    limit = ordered[0].candidate.estimate_us * policy.within
    return [offer for offer in ordered if offer.candidate.estimate_us <= limit][: policy.at_most]


def _hold(
    contests: Sequence[Contest], measure: Measure | None, cache: TuningCache, device: Device, policy: Policy
) -> None:
    """Fill the contests with samples, from the cache where it has them.

    A contest is kept as soon as its candidates are compared, so that an interruption costs no more than
    the one under way.
    """
    for contest in contests:
        contest.prepare(device)
        contest.recall(cache, policy)
    if measure is None:
        return
    for contest in _measured([(c, job, key) for c in contests for job, key in c.missing], measure):
        contest.reject_outvoted()
        contest.keep(cache)
    for _ in range(policy.rounds - 1):
        again = [(contest, job, key) for contest in contests for job, key in contest.close_calls(policy)]
        for contest in _measured(again, measure):
            contest.keep(cache)
    for contest in contests:
        contest.settle(policy)
        contest.keep(cache)


def _measured(wanted: Sequence[tuple[Contest, Job, MeasurementKey]], measure: Measure) -> Iterator[Contest]:
    """Measure each distinct job once; every contest, as soon as it has all its results."""
    jobs: dict[MeasurementKey, Job] = {}
    waiting: dict[MeasurementKey, list[tuple[Contest, Job]]] = {}
    for contest, job, key in wanted:
        jobs.setdefault(key, job)
        waiting.setdefault(key, []).append((contest, job))
    if not jobs:
        return
    left = Counter(contest for contest, _, _ in wanted)
    for key, result in zip(jobs, measure(list(jobs.values())), strict=True):
        for contest, job in waiting[key]:
            contest.take(job, key, result)
            left[contest] -= 1
            if not left[contest]:
                yield contest


def _remembered(cache: TuningCache, key: str, contest: Contest) -> Choice | None:
    recorded = cache.find_choice(key)
    if recorded is None:
        return None
    for offer in contest.entrants:
        if offer.kernel.name == recorded.kernel and repr(offer.candidate.config) == recorded.config:
            return offer.choice(recorded.microseconds, "cached")
    return None
