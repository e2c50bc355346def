"""The figures of the comparison, from results alone."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from protos.result import Reason, Result

Judge = Callable[[Result], bool | None]
"""Whether a result's answer is right; None where nobody knows."""

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Figures:
    """What can be said of some results."""

    results: Sequence[Result]
    judge: Judge

    @property
    def samples(self) -> int:
        return len(self.results)

    @cached_property
    def verdicts(self) -> list[bool]:
        """Right or wrong, for each result that can be judged."""
        return [verdict for verdict in map(self.judge, self.results) if verdict is not None]

    @property
    def accuracy(self) -> float:
        """Share of right answers, NaN when none can be judged."""
        return sum(self.verdicts) / len(self.verdicts) if self.verdicts else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy."""
        return wilson(sum(self.verdicts), len(self.verdicts))

    @property
    def offloaded(self) -> float:
        """Share of samples that were sent to the cloud, whatever came of it."""
        return sum(result.latency_ms.cloud is not None for result in self.results) / max(1, self.samples)

    @property
    def reasons(self) -> "Counter[Reason]":
        return Counter(result.reason for result in self.results)

    def latency(self, of: Callable[[Result], float | None]) -> NDArray[np.float64]:
        """Milliseconds of each result that has such a latency."""
        found = (of(result) for result in self.results)
        return np.array([value for value in found if value is not None])


def wilson(right: int, of: int) -> tuple[float, float]:
    """95 % score interval of a share; its bounds stay within 0 and 1."""
    if not of:
        return 0.0, 1.0
    share, spread = right / of, _Z**2 / of
    centre = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / of + spread / (4 * of))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True, slots=True)
class Point:
    """One threshold of the gate: what it would have sent, and how often it would have been right."""

    threshold: float
    offloaded: float
    accuracy: float


def curve(pairs: Iterable[tuple[float, bool, bool]]) -> list[Point]:
    """The accuracy of every threshold, from (confidence, edge right, cloud right) of the same samples.

    Starts where nothing is sent and ends where everything is. Samples of equal confidence go together.
    """
    by_confidence = sorted(pairs)
    total = len(by_confidence)
    right = sum(edge for _, edge, _ in by_confidence)
    points = [Point(0.0, 0.0, right / total)] if total else []
    for sent, (confidence, edge, cloud) in enumerate(by_confidence, start=1):
        right += cloud - edge
        following = by_confidence[sent][0] if sent < total else math.inf
        if confidence < following:
            points.append(Point(following, sent / total, right / total))
    return points
