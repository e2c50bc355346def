"""Thresholds for a budget keep it; what a plan foresees is what then happens."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_node.prepare.certify import plan, testing
from tests.gate.latent import Pair

BUDGET, DELTA = 0.3, 0.05
REPEATS = 400


def offloads(count: int, *, surely: bool) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """True offload of thresholds from as many samples, over repeats: scores are uniform."""
    draw = np.random.default_rng(count)
    found = []
    for _ in range(REPEATS):
        scores = draw.random(count)
        found.append(
            plan.threshold_surely(scores, BUDGET, DELTA)
            if surely
            else plan.threshold_on_average(scores, BUDGET)
        )
    return np.clip(found, 0, 1)


@pytest.mark.parametrize("count", [30, 200, 1001])
def test_a_threshold_for_a_budget_keeps_it_as_often_as_it_says(count: int) -> None:
    sure, average = offloads(count, surely=True), offloads(count, surely=False)
    most = DELTA + 3 * math.sqrt(DELTA * (1 - DELTA) / REPEATS)
    assert (sure > BUDGET).mean() <= most
    assert average.mean() <= BUDGET + 3 * average.std() / math.sqrt(REPEATS)
    assert average.mean() > BUDGET - 1 / count - 3 * average.std() / math.sqrt(REPEATS)
    assert (average > BUDGET).mean() > 0.2, "what holds in the mean is broken in half the cases"


def test_too_few_samples_for_a_budget_defer_nothing_and_nan_takes_its_share() -> None:
    assert plan.threshold_surely(np.arange(5.0), 0.1, DELTA) == -math.inf
    assert plan.threshold_on_average(np.arange(5.0), 0.1) == -math.inf
    scores = np.concatenate([np.full(40, np.nan), np.linspace(0, 1, 60)])
    threshold = plan.threshold_on_average(scores, 0.5)
    assert (~(scores >= threshold)).mean() <= 0.5


def test_a_threshold_for_bytes_keeps_them_as_often_as_it_says_and_one_for_samples_does_not() -> None:
    """The less sure, the larger: 30 % of the samples are far more of the bytes."""
    draw = np.random.default_rng(3)
    grid = testing.grid(draw.random(1000))
    found, by_count = [], []
    for _ in range(REPEATS):
        scores = draw.random(500)
        sizes = np.round(1000 * (1.5 - scores)).astype(np.int64)
        found.append(plan.threshold_of_bytes(scores, sizes, grid, BUDGET, DELTA))
        by_count.append(plan.threshold_surely(scores, BUDGET, DELTA))
    broken = bytes_sent(np.array(found)) > BUDGET
    assert broken.mean() <= DELTA + 3 * math.sqrt(DELTA * (1 - DELTA) / REPEATS)
    assert bytes_sent(np.array(found)).mean() > BUDGET - 0.06
    assert (bytes_sent(np.array(by_count)) > BUDGET).mean() > 0.9


def bytes_sent(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """True share of the bytes: the mean of 1.5 - score below it."""
    return np.asarray(1.5 * thresholds - thresholds**2 / 2)


def test_failures_allowed_are_none_below_the_least_count() -> None:
    assert plan.most_failures(298, 0.01, DELTA) is None
    assert plan.most_failures(299, 0.01, DELTA) == 0


def test_what_a_plan_foresees_is_what_happens() -> None:
    pair, draw = Pair(), np.random.default_rng(1)
    pilot = pair.draw(4000, draw)
    grid = testing.grid(pilot.scores)
    assert plan.outlook(pilot, grid, 0.005, DELTA, 300).certified == 0
    foreseen = plan.outlook(pilot, grid, 0.02, DELTA, 2000)
    assert foreseen.certified == 1
    assert foreseen.offload is not None
    found = [plan.outlook(pair.draw(2000, draw), grid, 0.02, DELTA, 2000).offload for _ in range(5)]
    assert foreseen.offload == pytest.approx(np.median([it for it in found if it is not None]), abs=0.06)
