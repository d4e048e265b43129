"""One problem's candidates on their way to a choice."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Sequence
from typing import Literal

import numpy as np

from ..errors import Fx2aitWarning, KernelError
from ..extend.contributions import KernelSource
from ..extend.problem import Problem
from .agreement import outvoted
from .cache import Measurement, MeasurementKey, TuningCache
from .keys import measurement_key
from .offers import JOB_NAME, Choice, Device, Failed, Job, Offer, Policy, Timed

RivalKey = tuple[str, str]  # a kernel's name and its configuration, as text


class Contest:
    """Collects samples and failures of the candidates for ``problem``.

    :param entrants: the offers that are measured.
    :param offers: all offers; they stand in, by estimate, when every entrant fails.
    """

    def __init__(self, problem: Problem, entrants: Sequence[Offer], offers: Sequence[Offer]) -> None:
        self.problem = problem
        self.entrants = entrants
        self.offers = offers
        self.jobs: list[tuple[Job, MeasurementKey]] = []
        self.samples: dict[MeasurementKey, list[float]] = {}
        self.settled: set[MeasurementKey] = set()
        self.failures: dict[MeasurementKey, str] = {}
        self.answers: dict[MeasurementKey, np.ndarray] = {}
        self.fresh = False
        self._unkept: dict[MeasurementKey, Measurement] = {}

    def prepare(self, device: Device) -> None:
        """Emit the entrants; one whose emission raises has failed."""
        for offer in self.entrants:
            try:
                source = offer.kernel.emit(JOB_NAME, self.problem, offer.candidate.config)
                if not isinstance(source, KernelSource):
                    raise TypeError(f"emit returned a {type(source).__name__}, not a KernelSource")
            except Exception as error:  # a plugin's code: its candidate is out, the others stay
                key = measurement_key(self.problem, offer, None, device)
                failed = Failed(f"{type(error).__name__}: {error}", lasting=False)
                self.fail(Job(self.problem, offer, KernelSource("")), key, failed)
                continue
            key = measurement_key(self.problem, offer, source, device)
            self.jobs.append((Job(self.problem, offer, source), key))

    def recall(self, cache: TuningCache, policy: Policy) -> None:
        """Take the failures that ``cache`` remembers; and its times, unless one is missing.

        A candidate that is to be measured is to be compared with the others, whose answers nothing keeps.
        """
        known = {key: cache.find(key) for _, key in self.jobs}
        for job, key in self.jobs:
            if (found := known[key]) and found.microseconds is None:
                self.fail(job, key, Failed(f"{found.failure} (remembered)", lasting=False))
        if None in known.values():
            return
        for key, found in known.items():
            if found and found.microseconds is not None:
                self.samples[key] = [found.microseconds]
                if found.rounds >= policy.rounds:
                    self.settled.add(key)

    @property
    def missing(self) -> list[tuple[Job, MeasurementKey]]:
        """Jobs that have neither a time nor a failure."""
        return [(j, key) for j, key in self.jobs if key not in self.samples and key not in self.failures]

    def take(self, job: Job, key: MeasurementKey, result: Timed | Failed) -> None:
        """One more sample, or the end of a candidate."""
        if isinstance(result, Failed):
            self.fail(job, key, result)
            return
        self.fresh = True
        self.samples.setdefault(key, []).append(result.microseconds)
        self._unkept[key] = Measurement(self.median(key), len(self.samples[key]))
        if result.answer is not None:
            self.answers[key] = result.answer

    def fail(self, job: Job, key: MeasurementKey, failed: Failed) -> None:
        self.failures[key] = reason = failed.reason
        self.samples.pop(key, None)
        self._unkept.pop(key, None)
        if failed.lasting:
            self._unkept[key] = Measurement(None, failure=reason)
        shown = reason if len(reason) < 1500 else f"{reason[:1500]} …"
        warnings.warn(f"{job} is skipped for {self.problem.kind}: {shown}", Fx2aitWarning, stacklevel=2)

    def reject_outvoted(self) -> None:
        """Fail the entrants whose answers most others contradict."""
        answers = {key: answer for key, answer in self.answers.items() if key in self.samples}
        apart = outvoted(answers)
        trusted = f"the {len(answers) - len(apart)} whose answers agree"
        for job, key in self.jobs:
            if key in apart:
                text = f"wrong answer, at a relative L2 distance of {apart[key]:.2g} from {trusted}"
                self.fail(job, key, Failed(text))

    def settle(self, policy: Policy) -> None:
        """Close calls have been measured often enough."""
        for _, key in self.close_calls(policy):
            self.settled.add(key)
            self._unkept[key] = Measurement(self.median(key), max(policy.rounds, len(self.samples[key])))

    def keep(self, cache: TuningCache) -> None:
        """Record in ``cache`` what is new since the last time."""
        for key, measurement in self._unkept.items():
            cache.record(key, measurement)
        self._unkept.clear()

    def median(self, key: MeasurementKey) -> float:
        return statistics.median(self.samples[key])

    def close_calls(self, policy: Policy) -> list[tuple[Job, MeasurementKey]]:
        """Jobs near the best that have not been measured often enough; none when nothing is near the best."""
        times = {key: self.median(key) for _, key in self.jobs if key in self.samples}
        if len(times) < 2:
            return []
        limit = min(times.values()) * (1 + policy.close)
        near = [(job, key) for job, key in self.jobs if key in times and times[key] <= limit]
        if len(near) < 2:
            return []
        return [(job, key) for job, key in near if key not in self.settled]

    def rivals(self, policy: Policy) -> dict[RivalKey, Choice]:
        """The choices that are as good as the best one, by kernel and configuration, best first.

        Measured ones where there are any, else all that have not failed, by their estimates.
        """
        how: Literal["measured", "cached"] = "measured" if self.fresh else "cached"
        choices = [job.offer.choice(self.median(key), how) for job, key in self.jobs if key in self.samples]
        alike = policy.alike_times
        if not choices:
            choices = [offer.choice(offer.candidate.estimate_us, "heuristic") for offer in self._unfailed()]
            alike = policy.alike_estimates
        choices.sort(key=lambda choice: choice.microseconds)
        limit = choices[0].microseconds * (1 + alike)
        found: dict[RivalKey, Choice] = {}
        for choice in choices:
            if choice.microseconds <= limit:
                found.setdefault((choice.kernel.name, repr(choice.candidate.config)), choice)
        return found

    def _unfailed(self) -> list[Offer]:
        failed = {(key.kernel, key.config) for key in self.failures}
        left = [o for o in self.offers if (o.kernel.name, repr(o.candidate.config)) not in failed]
        if not left:
            reasons = "\n".join(f"  {key.kernel} {key.config}: {text}" for key, text in self.failures.items())
            raise KernelError(f"{self.problem.kind}: every candidate failed.\n{reasons}")
        return left
