"""The alarm: seldom wrong over any length, soon right, and not put to sleep by a long calm."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_node.gate import eprocess
from edge_node.gate.eprocess import (
    RATIOS,
    EProcess,
    Pooled,
    above,
    all_clear,
    audits_to_detect,
    below,
    drift_alarm,
)

Floats = NDArray[np.float64]
MEDIANS = {  # audits to alarm, by the bound and by what disagreement has become
    0.01: {0.015: 6800, 0.02: 1900, 0.03: 590, 0.05: 180, 0.10: 54},
    0.10: {0.12: 3600, 0.15: 620, 0.20: 180, 0.30: 48},
}
CASES = [(bound, share, median) for bound, row in MEDIANS.items() for share, median in row.items()]


def bet(test: EProcess, draw: Callable[[int], Floats], runs: int, steps: int) -> Floats:
    """When each of many runs rejects, by the test's own arithmetic; infinite where it does not."""
    bets = test._bets[:, None]
    parts = np.full((len(bets), runs), 1 - eprocess.held_back(0))
    stopped = np.full(runs, math.inf)
    for seen in range(steps):
        parts = eprocess.wager(parts, bets, draw(seen), test.mean, seen)
        value = parts.mean(axis=0) + eprocess.held_back(seen + 1)
        stopped[(value >= 1 / test.alpha) & np.isinf(stopped)] = seen + 1
        if np.isfinite(stopped).all():
            break
    return stopped


def shares(*phases: tuple[int, float], runs: int, seed: int = 0) -> Callable[[int], Floats]:
    """Zeros and ones, of a share that changes after so many steps."""
    rng = np.random.default_rng(seed)
    path = np.concatenate([np.full(steps, share) for steps, share in phases])
    return lambda seen: (rng.random(runs) < path[seen]).astype(np.float64)


@pytest.mark.parametrize(("bound", "share", "median"), CASES)
def test_audits_to_alarm_are_those_of_the_table(bound: float, share: float, median: int) -> None:
    steps = 4 * median
    stopped = bet(drift_alarm(bound), shares((steps, share), runs=500), 500, steps)
    assert np.median(stopped) == pytest.approx(median, rel=0.25)
    assert np.median(stopped) <= audits_to_detect(bound, share) <= 1.5 * np.median(stopped)


@pytest.mark.parametrize("bound", MEDIANS)
@pytest.mark.parametrize(("alpha", "runs"), [(eprocess.ALPHA, 10_000), (0.05, 1000)])
def test_false_alarms_are_no_more_than_alpha_over_long_nulls(bound: float, alpha: float, runs: int) -> None:
    """At the boundary itself; at a looser alpha, too, where there is something to count."""
    steps = 4000
    stopped = bet(drift_alarm(bound, alpha), shares((steps, bound), runs=runs), runs, steps)
    assert np.isfinite(stopped).mean() <= alpha + 3 * math.sqrt(alpha / runs)


def rolling_mean_alarms(draw: Callable[[int], Floats], bound: float, runs: int, steps: int) -> Floats:
    """When a mean over the last 50 audits, of 5 at least, first exceeds the bound."""
    seen = np.stack([draw(step) for step in range(steps)]).cumsum(axis=0)
    seen = np.concatenate([np.zeros((1, runs)), seen])
    last = np.arange(5, steps + 1)
    first = np.maximum(last - 50, 0)
    above_it = (seen[last] - seen[first]) / (last - first)[:, None] > bound
    return np.where(above_it.any(axis=0), 5 + above_it.argmax(axis=0), math.inf)


@pytest.mark.parametrize("bound", MEDIANS)
def test_a_rolling_mean_alarms_on_what_is_well_within_the_bound(bound: float) -> None:
    runs, steps = 500, 2000
    healthy = 0.7 * bound
    rolling = rolling_mean_alarms(shares((steps, healthy), runs=runs), bound, runs, steps)
    ours = bet(drift_alarm(bound), shares((steps, healthy), runs=runs), runs, steps)
    assert np.isfinite(rolling).mean() > 0.95
    assert not np.isfinite(ours).any()


def all_at_once(test: EProcess, draw: Callable[[int], Floats], steps: int) -> Floats:
    """As ``bet``, by a test that holds nothing of its stake back."""
    growth = np.stack([np.log1p(test._bets[:, None] * (draw(seen) - test.mean)) for seen in range(steps)])
    enough = np.exp(growth.cumsum(axis=0)).mean(axis=1) >= 1 / test.alpha
    return np.where(enough.any(axis=0), 1 + enough.argmax(axis=0), math.inf)


def test_a_long_calm_does_not_put_the_alarm_to_sleep() -> None:
    """Negative control: the same bets with all of the stake bet at once."""
    runs, calm, bound = 200, 5000, 0.1
    phases = (calm, 0.08), (6000, 0.2)
    awake = np.median(bet(drift_alarm(bound), shares(*phases, runs=runs), runs, calm + 6000)) - calm
    assert awake <= 2.2 * MEDIANS[bound][0.2]
    assert awake <= audits_to_detect(bound, 0.2, seen=calm)
    asleep = np.median(all_at_once(drift_alarm(bound), shares(*phases, runs=runs), calm + 6000)) - calm
    assert asleep > 5 * awake


def test_one_run_is_the_mean_of_likelihood_ratios_and_what_is_held_back() -> None:
    """Against the formula written out, every start of a bet by itself."""
    bound, xs = 0.1, [0, 1, 0, 0, 1, 1, 1, 0, 1]
    test = drift_alarm(bound)
    for x in xs:
        test.update(x)
    ratios = [c for c in RATIOS if c * bound < 0.95]

    def ratio(c: float, observed: list[int]) -> float:
        return math.prod(c if x else (1 - c * bound) / (1 - bound) for x in observed)

    starts = [1 - eprocess.held_back(0), *(0.0 for _ in xs)]
    for at in range(len(xs)):
        starts[at] += eprocess.held_back(at) - eprocess.held_back(at + 1)
    expected = sum(share * ratio(c, xs[at:]) for (at, share), c in product(enumerate(starts), ratios))
    assert test.value == pytest.approx(expected / len(ratios) + eprocess.held_back(len(xs)))


def signed(mean: float, runs: int, seed: int = 3) -> Callable[[int], Floats]:
    """Differences of -1, 0 and 1, a third of them not zero."""
    rng = np.random.default_rng(seed)
    chances = [1 / 6 - mean / 2, 2 / 3, 1 / 6 + mean / 2]
    return lambda _: rng.choice([-1.0, 0.0, 1.0], size=runs, p=chances)


@pytest.mark.parametrize("claim", [above, below])
def test_a_difference_at_its_bound_is_seldom_proved_to_be_beyond(
    claim: Callable[[float, float], EProcess],
) -> None:
    runs = 1000
    stopped = bet(claim(0.05, 0.05), signed(0.05, runs), runs, 3000)
    assert np.isfinite(stopped).mean() <= 0.05 + 3 * math.sqrt(0.05 / runs)


def test_a_difference_beyond_its_bound_is_proved() -> None:
    assert np.median(bet(below(0.05, 0.05), signed(-0.05, 200), 200, 3000)) < 400
    assert np.median(bet(above(0.05, 0.001), signed(0.2, 200), 200, 3000)) < 400
    assert np.median(bet(all_clear(0.1, 0.05), shares((3000, 0.05), runs=200), 200, 3000)) < 600


def scenes(share: float, count: int, seed: int) -> list[bool]:
    """Audits of every 50th input of a camera, of whose scenes, of 100 inputs, a share differs throughout."""
    rng = np.random.default_rng(seed)
    other = rng.random(count) < 1 - 0.99**50
    scene = np.cumsum(other)
    return [bool(differs) for differs in (rng.random(count + 1) < share)[scene]]


def alarms(share: float, count: int, pool: float) -> float:
    """Share of runs that alarm against a bound of 10 %, one input a second."""
    runs = []
    for seed in range(40):
        test = Pooled(drift_alarm(0.1), pool)
        runs.append([test.update(x, 50 * at) for at, x in enumerate(scenes(share, count, seed))][-1])
    return float(np.mean(runs))


def test_scenes_are_no_drift_once_each_counts_once() -> None:
    """Negative control: audits bet on one by one."""
    assert alarms(0.07, 2000, pool=200) == 0
    assert alarms(0.07, 2000, pool=0) > 0.5
    assert alarms(0.3, 400, pool=200) > 0.9


def test_evidence_stays_finite_and_goes_on_after_a_restart() -> None:
    test = drift_alarm(0.1)
    for _ in range(5000):
        test.update(1)
    assert test.rejected
    assert math.isfinite(test.value)
    again = drift_alarm(0.1, wealth=test.wealth())
    assert (again.rejected, again.seen, again.value) == (True, 5000, test.value)
    for _ in range(5000):
        again.update(0)
    assert again.value < 1
    assert again.rejected  # once is enough


def test_a_bound_that_nothing_can_exceed_is_refused_in_a_line() -> None:
    with pytest.raises(ValueError, match=r"nothing to bet on against a mean of 0\.8"):
        drift_alarm(0.8)
    assert audits_to_detect(0.8, 1.0) == math.inf
    assert audits_to_detect(0.1, 0.1) == math.inf
