"""Which score of the logits decides: the one with the largest area under the deferral curve on TUNE."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_node.gate import scores
from edge_node.prepare.certify import gain
from edge_node.prepare.certify.evidence import Evidence
from protos.score import Energy, Margin, MaxLogitPNorm, Msp, Negent, ScoreSpec

REPEATS = 200
"""Bootstrap resamples."""
POWERS = range(1, 11)
LEAD = 2.0
"""One standard error is what the best of so many scores leads by, by chance, in every third sample."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A score, and what it gives on TUNE: the learned one by what it learned on other samples."""

    spec: ScoreSpec
    scores: Floats
    area: float


def choose(tune: Evidence, temperature: float, seed: int) -> ScoreSpec:
    """The simplest score whose area is within ``LEAD`` standard errors of the largest.

    The error is that of the difference, by a paired bootstrap over samples, or over groups.
    """
    found = candidates(tune, temperature, seed)
    best = max(found, key=lambda it: it.area)
    weights = _resamples(tune, seed)
    of_best = areas(best.scores, tune.gain, weights)
    for one in found:
        behind = of_best - areas(one.scores, tune.gain, weights)
        if best.area - one.area <= LEAD * behind.std():
            return one.spec
    return best.spec


def candidates(tune: Evidence, temperature: float, seed: int) -> list[Candidate]:
    """All that could decide, the simplest first; of the powers of a norm only the best one."""
    plain: list[ScoreSpec] = [Msp(), Margin(), Negent(), Energy()]
    found = [_candidate(spec, tune, temperature) for spec in plain]
    norms = [_candidate(MaxLogitPNorm(p=p), tune, temperature) for p in POWERS]
    found.append(max(norms, key=lambda it: it.area))
    others = gain.cross_fitted(tune, temperature, seed)
    learned = gain.fit(tune, temperature)
    if learned is not None and others is not None:
        found.append(Candidate(learned, others, area(others, tune.gain)))
    return found


def area(values: Floats, gains: NDArray[np.int64]) -> float:
    """Mean, over all shares of offload, of what deferring the least sure adds to the accuracy."""
    return float(areas(values, gains, np.ones((1, len(values))))[0])


def areas(values: Floats, gains: NDArray[np.int64], weights: Floats) -> Floats:
    """The same for each row of weights (k, n) of the samples: (k,). Ties defer together; NaN first."""
    _, member = np.unique(np.where(np.isnan(values), -np.inf, values), return_inverse=True)
    together = np.bincount(member, gains) / np.bincount(member)
    order = np.argsort(member, kind="stable")
    shares = weights[:, order] / weights.sum(axis=1, keepdims=True)
    gained = shares * together[member[order]]
    found: Floats = (shares * (np.cumsum(gained, axis=1) - gained / 2)).sum(axis=1)
    return found


def _candidate(spec: ScoreSpec, tune: Evidence, temperature: float) -> Candidate:
    values = scores.make(spec, temperature)(tune.logits)
    return Candidate(spec, values, area(values, tune.gain))


def _resamples(tune: Evidence, seed: int) -> Floats:
    """(REPEATS, n): how often each sample was drawn, a group as a whole."""
    units = np.arange(len(tune)) if tune.groups is None else tune.groups
    _, member = np.unique(units, return_inverse=True)
    count = int(member.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), REPEATS)
    return drawn[:, member].astype(np.float64)
