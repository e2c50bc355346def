"""Before anything is deployed: how many samples, which epsilon, which threshold. CERT is not touched."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from edge_node.prepare.certify import testing
from edge_node.prepare.certify.promises import Trial

SIZES = (300, 600, 1000, 2000, 5000, 10000, 25000)
"""CERT samples worth asking about."""
DRAWS = 20

Floats = NDArray[np.float64]


def most_failures(count: int, epsilon: float, delta: float) -> int | None:
    """Failures among ``count`` that still certify epsilon by the exact test; none if not even 0 do."""
    failures = range(math.ceil(count * epsilon) + 1)
    return max((it for it in failures if testing.binomial_p(it, count, epsilon) <= delta), default=None)


def threshold_on_average(scores: Floats, share: float) -> float:
    """Defers at most ``share`` of exchangeable inputs, in the mean over samples (n,) like these."""
    return _ranked(scores, math.floor(share * (len(scores) + 1)))


def threshold_surely(scores: Floats, share: float, delta: float) -> float:
    """Defers at most ``share`` of exchangeable inputs, with probability 1 - delta over samples (n,).

    The score of a rank that depends on n alone.
    """
    rank = math.floor(share * len(scores)) + 1
    while rank and testing.binomial_p(rank - 1, len(scores), share) > delta:
        rank -= 1
    return _ranked(scores, rank)


def threshold_of_bytes(
    scores: Floats, sizes: NDArray[np.int64], grid: Sequence[float], share: float, delta: float
) -> float:
    """Sends at most ``share`` of the bytes of exchangeable inputs, with probability 1 - delta; by betting.

    Samples (n,) in an order drawn at random; the grid is tried from loose to strict, each threshold against
    "it sends more". Minus infinity where not even the loosest is proven to send less.
    """
    shares = sizes / sizes.max()

    def p_value(at: int) -> float:
        sent = ~(scores >= grid[-1 - at])
        return testing.betting_p(shares * (sent - share), 0.0, delta, -share, 1 - share)

    last = testing.loosest(testing.fixed_sequence(p_value, len(grid), delta), delta)
    return -math.inf if last is None else grid[-1 - last]


def _ranked(scores: Floats, rank: int) -> float:
    """The score that ``rank`` - 1 lie below, NaN below all; minus infinity for 0: nothing is deferred."""
    return float(np.sort(np.nan_to_num(scores, nan=-np.inf))[rank - 1]) if rank else -math.inf


@dataclass(frozen=True)
class Outlook:
    """What so many CERT samples would likely give."""

    count: int
    certified: float
    """Share of draws that end in a certificate."""
    offload: float | None
    """Median of those; none without one."""


def outlook(trial: Trial, grid: Sequence[float], epsilon: float, delta: float, count: int) -> Outlook:
    """By resampling a pilot: as optimistic as that is small."""
    draw = np.random.default_rng(count)
    found = []
    for _ in range(DRAWS):
        rows = draw.integers(0, len(trial.scores), count)
        drawn = replace(trial, scores=trial.scores[rows], costs=trial.costs[rows], groups=None)
        found.append(_offload(drawn, grid, epsilon, delta))
    offloads = [it for it in found if it is not None]
    return Outlook(count, len(offloads) / DRAWS, float(np.median(offloads)) if offloads else None)


def _offload(trial: Trial, grid: Sequence[float], epsilon: float, delta: float) -> float | None:
    p_values = testing.fixed_sequence(lambda at: trial.p_value(grid[at], epsilon, delta), len(grid), delta)
    last = testing.loosest(p_values, delta)
    return None if last is None else 1 - float(trial.kept(grid[last]).mean())
