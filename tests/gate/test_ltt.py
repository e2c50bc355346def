"""p-values against known tables and literal formulas; a fixed sequence that stops where it must."""

import math
from collections.abc import Sequence

import numpy as np
import pytest

from edge_node.gate import binomial
from edge_node.prepare.certify import testing
from edge_node.prepare.certify.promises import Trial
from tests.gate.latent import Pair

ALLOWED = {
    0.005: (None, 0, 1, 4, 16, 38, 106),
    0.01: (0, 1, 4, 12, 38, 83, 223),
    0.02: (1, 6, 12, 29, 83, 176, 463),
    0.05: (8, 20, 38, 83, 224, 463, 1193),
}
"""Most failures that still certify epsilon at 95 %, exact, for these counts."""
COUNTS = (300, 600, 1000, 2000, 5000, 10000, 25000)


@pytest.mark.parametrize(("epsilon", "allowed"), ALLOWED.items())
def test_failures_allowed_are_those_of_the_exact_table(epsilon: float, allowed: Sequence[int | None]) -> None:
    for count, most in zip(COUNTS, allowed, strict=True):
        if most is not None:
            assert testing.binomial_p(most, count, epsilon) <= 0.05
        beyond = 0 if most is None else most + 1
        assert testing.binomial_p(beyond, count, epsilon) > 0.05


def test_299_samples_without_a_failure_certify_one_percent_and_298_do_not() -> None:
    assert binomial.upper(0, 299, 0.05) <= 0.01 < binomial.upper(0, 298, 0.05)
    assert testing.least_samples("binomial", 0.01, 0.05) == 299


def literal_betting_p(losses: Sequence[float], epsilon: float, delta: float) -> float:
    """The formula word for word, one sample at a time."""
    m, n = (1 + epsilon) / 2, len(losses)
    total = squares = 0.0
    wealth = best = 1.0
    variance = 0.25
    for i, loss in enumerate(losses, 1):
        x = (loss + 1) / 2
        stake = min(math.sqrt(2 * math.log(1 / delta) / (n * variance)), 0.75 / (1 - m))
        wealth *= 1 + stake * (m - x)
        best = max(best, wealth)
        total += x
        mean = (0.5 + total) / (i + 1)
        squares += (x - mean) ** 2
        variance = (0.25 + squares) / (i + 1)
    return 1 / best


@pytest.mark.parametrize("shares", [(0.02, 0.95, 0.03), (0.05, 0.9, 0.05), (0.0, 1.0, 0.0)])
def test_betting_is_the_published_formula(shares: tuple[float, float, float]) -> None:
    losses = np.random.default_rng(1).choice([-1, 0, 1], size=1500, p=shares)
    for epsilon in (0.005, 0.02):
        found = testing.betting_p(losses, epsilon, 0.05)
        assert found == pytest.approx(literal_betting_p(losses.tolist(), epsilon, 0.05), rel=1e-9)


def test_betting_is_valid_where_the_null_is_true_and_has_power_where_it_is_not() -> None:
    draw = np.random.default_rng(2)
    p_values = [testing.betting_p(it, 0.02, 0.05) for it in _losses(draw, 0.02)]
    violations = np.mean(np.array(p_values) <= 0.05)
    assert violations <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)
    assert np.mean([testing.betting_p(it, 0.02, 0.05) <= 0.05 for it in _losses(draw, 0.0)]) > 0.5


def _losses(draw: np.random.Generator, mean: float) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    return draw.choice([-1, 0, 1], size=(1000, 1000), p=[0.03, 0.94 - mean, 0.03 + mean])


def test_no_samples_prove_nothing() -> None:
    assert testing.betting_p([], 0.01, 0.05) == testing.binomial_p(0, 0, 0.01) == 1


def test_least_samples_are_the_fewest_that_can_certify() -> None:
    least = testing.least_samples("betting", 0.01, 0.05)
    assert testing.betting_p(np.zeros(least), 0.01, 0.05) <= 0.05
    assert testing.betting_p(np.zeros(least - 1), 0.01, 0.05) > 0.05


def test_no_test_follows_one_that_failed() -> None:
    asked: list[int] = []
    p_values = [0.01, 0.02, 0.3, 0.001]

    def p_value(at: int) -> float:
        asked.append(at)
        return p_values[at]

    assert testing.fixed_sequence(p_value, 4, 0.05) == [0.01, 0.02, 0.3]
    assert asked == [0, 1, 2]
    assert testing.loosest([0.01, 0.02, 0.3], 0.05) == 1
    assert testing.loosest([0.01], 0.05) == 0
    assert testing.loosest([0.3], 0.05) is None


def test_the_grid_runs_from_strict_to_loose_over_scores_that_occur() -> None:
    scores = np.append(np.random.default_rng(3).normal(size=997), [np.nan] * 3)
    found = testing.grid(scores)
    assert list(found) == sorted(set(found), reverse=True)
    assert len(found) == 100
    assert set(found) <= set(scores.tolist())
    assert found[-1] == np.nanmin(scores)
    assert testing.grid(np.full(50, 0.3)) == (0.3,)


def bump() -> tuple[Trial, tuple[float, ...]]:
    """Harmless at the top, then a bump of harm, then enough help below to dip under epsilon again."""
    costs = np.concatenate([np.zeros(2000), np.ones(400), np.full(600, -1)]).astype(np.int64)
    scores = np.linspace(1, 0, len(costs))
    draw = np.random.default_rng(4).permutation(len(costs))
    return Trial("drop", scores[draw], costs[draw]), testing.grid(scores)


def test_a_risk_that_dips_below_epsilon_after_a_bump_is_not_certified_past_the_bump() -> None:
    trial, grid = bump()
    p_values = [trial.p_value(threshold, 0.02, 0.05) for threshold in grid]
    found = testing.fixed_sequence(p_values.__getitem__, len(grid), 0.05)
    last = testing.loosest(found, 0.05)
    assert last is not None
    assert grid[last] > 1 - 2400 / 3000
    picked = max(at for at, p_value in enumerate(p_values) if p_value <= 0.05)
    assert grid[picked] < 1 - 2400 / 3000, "the loosest that passes alone would lie past it"


@pytest.mark.parametrize("promise", ["harm", "selective"])
def test_the_order_of_the_samples_does_not_matter_to_exact_tests(promise: str) -> None:
    draw = np.random.default_rng(5)
    trial = Pair().draw(2000, draw, "harm" if promise == "harm" else "selective")
    order = draw.permutation(2000)
    mixed = Trial(trial.promise, trial.scores[order], trial.costs[order])
    for threshold in testing.grid(trial.scores):
        assert trial.p_value(threshold, 0.05, 0.05) == mixed.p_value(threshold, 0.05, 0.05)
