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
from .cache import MeasurementKey
from .keys import measurement_key
from .offers import JOB_NAME, Choice, Device, Job, Offer, Policy, Timed

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

    def prepare(self, device: Device) -> None:
        """Emit the entrants; one whose emission raises has failed."""
        for offer in self.entrants:
            try:
                source = offer.kernel.emit(JOB_NAME, self.problem, offer.candidate.config)
                if not isinstance(source, KernelSource):
                    raise TypeError(f"emit returned a {type(source).__name__}, not a KernelSource")
            except Exception as error:  # a plugin's code: its candidate is out, the others stay
                key = measurement_key(self.problem, offer, None, device)
                self.fail(Job(self.problem, offer, KernelSource("")), key, f"{type(error).__name__}: {error}")
                continue
            key = measurement_key(self.problem, offer, source, device)
            self.jobs.append((Job(self.problem, offer, source), key))

    def fail(self, job: Job, key: MeasurementKey, reason: str) -> None:
        self.failures[key] = reason
        self.samples.pop(key, None)
        shown = reason if len(reason) < 1500 else f"{reason[:1500]} …"
        warnings.warn(f"{job} is skipped for {self.problem.kind}: {shown}", Fx2aitWarning, stacklevel=2)

    def add(self, key: MeasurementKey, timed: Timed) -> None:
        self.fresh = True
        self.samples.setdefault(key, []).append(timed.microseconds)
        if timed.answer is not None:
            self.answers[key] = timed.answer

    def reject_outvoted(self) -> dict[MeasurementKey, str]:
        """Fails the entrants whose answers most others contradict, and says why each failed."""
        answers = {key: answer for key, answer in self.answers.items() if key in self.samples}
        apart = outvoted(answers)
        trusted = f"the {len(answers) - len(apart)} whose answers agree"
        reasons = {
            key: f"wrong answer, at a relative L2 distance of {distance:.2g} from {trusted}"
            for key, distance in apart.items()
        }
        for job, key in self.jobs:
            if key in reasons:
                self.fail(job, key, reasons[key])
        return reasons

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
