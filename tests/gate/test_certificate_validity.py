"""A certificate is wrong no more often than it says, and not much stricter than it must be: simulated."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from edge_node.gate import binomial
from edge_node.gate.certificate import Promise
from edge_node.prepare.certify import testing
from edge_node.prepare.certify.outcome import BASELINE
from edge_node.prepare.certify.promises import Trial
from tests.gate.latent import Pair

DELTA = 0.05
REPEATS = 400
MOST = DELTA + 3 * math.sqrt(DELTA * (1 - DELTA) / REPEATS)

Rule = Callable[[Trial, tuple[float, ...], float], float]


def certified(trial: Trial, grid: tuple[float, ...], epsilon: float) -> float:
    """The threshold; infinity where nothing was certified."""
    found = testing.fixed_sequence(lambda at: trial.p_value(grid[at], epsilon, DELTA), len(grid), DELTA)
    last = testing.loosest(found, DELTA)
    return math.inf if last is None else grid[last]


def naive(trial: Trial, grid: tuple[float, ...], epsilon: float) -> float:
    """The loosest whose drop on the samples at hand is at most epsilon: how it is usually done."""
    drops = np.array([trial.costs[trial.kept(threshold)].sum() for threshold in grid]) / len(trial.scores)
    return grid[int(np.flatnonzero(drops <= epsilon).max(initial=0))]


def calibrated(rule: Rule, count: int, epsilon: float, repeats: int = REPEATS) -> list[float]:
    """Thresholds of as many calibrations."""
    pair, draw = Pair(), np.random.default_rng(count)
    return [
        rule(pair.draw(count, draw), testing.grid(pair.draw(1000, draw).scores), epsilon)
        for _ in range(repeats)
    ]


def violations(thresholds: list[float], epsilon: float) -> float:
    pair = Pair()
    return float(np.mean([pair.drop(it) > epsilon for it in thresholds]))


@pytest.mark.parametrize(("count", "epsilon"), [(1000, 0.02), (2000, 0.01)])
def test_the_certificate_keeps_its_promise_and_the_usual_tuning_does_not(count: int, epsilon: float) -> None:
    assert violations(calibrated(certified, count, epsilon), epsilon) <= MOST
    assert violations(calibrated(naive, count, epsilon), epsilon) > 0.2


def test_it_keeps_it_where_the_next_threshold_of_the_grid_breaks_it_by_a_hair() -> None:
    """The worst case: one threshold has a drop just above epsilon, the one before it is far below."""
    pair, draw = Pair(), np.random.default_rng(7)
    grid = tuple(pair.threshold(share) for share in np.arange(0.95, 0, -0.05))
    epsilon = pair.drop(pair.threshold(0.2)) - 1e-9
    assert pair.drop(pair.threshold(0.25)) < epsilon / 2
    found = [certified(pair.draw(1000, draw), grid, epsilon) for _ in range(REPEATS)]
    assert violations(found, epsilon) <= MOST
    usual = [naive(pair.draw(1000, draw), grid, epsilon) for _ in range(REPEATS)]
    assert violations(usual, epsilon) > 0.2


@pytest.mark.parametrize("promise", ["harm", "selective"])
def test_exact_tests_keep_theirs_at_the_boundary(promise: Promise) -> None:
    pair, draw = Pair(), np.random.default_rng(8)
    grid = tuple(pair.threshold(share) for share in np.arange(0.8, 0, -0.1))
    many = pair.draw(4_000_000, draw, promise)
    kept = many.kept(grid[4])
    risk = many.costs[kept].sum() / (kept.sum() if promise == "selective" else len(kept))
    found = [certified(pair.draw(2000, draw, promise), grid, risk - 1e-9) for _ in range(REPEATS)]
    wrong = np.mean([threshold <= grid[4] for threshold in found])
    assert 0.01 < wrong <= MOST, "and it has the power to come close"


def test_it_is_tight() -> None:
    """5,000 samples, one point: within five points of the offload that the truth would need."""
    pair = Pair()
    offloads = [pair.offload(it) for it in calibrated(certified, 5000, 0.01, repeats=200)]
    assert pair.oracle(0.01) < np.mean(offloads) <= pair.oracle(0.01) + 0.05


def clustered(draw: np.random.Generator) -> Trial:
    """100 groups of 30 samples that share their fate: harm in 5 % of the groups, all of them kept."""
    groups = np.repeat(np.arange(100), 30)
    harmed = draw.random(100) < 0.05
    costs = (harmed[groups] & (draw.random(3000) < 0.9)).astype(np.int64)
    return Trial("harm", np.ones(3000), costs, groups)


def test_groups_count_once_each_where_the_promise_is_for_new_ones() -> None:
    risk, draw = 0.05 * 0.9, np.random.default_rng(9)
    trials = [clustered(draw) for _ in range(REPEATS)]
    wrong = [trial.p_value(1.0, risk, DELTA) <= DELTA for trial in trials]
    assert np.mean(wrong) <= MOST
    as_samples = [Trial("harm", it.scores, it.costs).p_value(1.0, risk, DELTA) <= DELTA for it in trials]
    assert np.mean(as_samples) > 0.2, "samples of a group are no independent evidence"
    assert np.mean([it.design_effect(1.0, it.groups) for it in trials if it.groups is not None]) > 10


def test_a_share_of_the_kept_is_promised_to_new_groups_no_more_often_than_it_holds() -> None:
    """Six in ten are kept, of which one in ten is wrong: a bound just below, and one far above."""
    draw, groups = np.random.default_rng(11), np.arange(400)
    trials = [
        Trial(
            "selective",
            (draw.random(400) < 0.6).astype(np.float64),
            (draw.random(400) < 0.1).astype(np.int64),
            groups,
        )
        for _ in range(REPEATS)
    ]
    assert trials[0].method == "betting"
    assert np.mean([trial.p_value(0.5, 0.0999, DELTA) <= DELTA for trial in trials]) <= MOST
    assert np.mean([trial.p_value(0.5, 0.2, DELTA) <= DELTA for trial in trials]) > 0.5


def test_the_bound_on_kept_disagreement_holds_at_the_threshold_that_was_chosen() -> None:
    """Chosen on the same samples: that must not spoil it."""
    pair, draw = Pair(), np.random.default_rng(10)
    grid = testing.grid(pair.draw(500, draw).scores)
    many = pair.draw(200_000, draw)
    broken = 0
    for _ in range(REPEATS):
        trial = pair.draw(1000, draw)
        threshold = certified(trial, grid, 0.02)
        kept, of_many = trial.kept(threshold), many.kept(threshold)
        q0 = binomial.upper(int((trial.costs[kept] != 0).sum()), int(kept.sum()), BASELINE)
        broken += bool(of_many.any() and (many.costs[of_many] != 0).mean() > q0)
    assert broken / REPEATS <= BASELINE + 3 * math.sqrt(BASELINE / REPEATS)
