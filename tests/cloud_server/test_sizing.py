"""How many samples share a run: learnt, and never a loss."""

import pytest

from cloud_server.inference.sizing import Run, Sizing


def learn(sizing: Sizing, costs: dict[int, float], runs: int = 1000, waiting: int = 16) -> list[int]:
    """Sizes of runs of a model that takes so long a sample, with so many always waiting."""
    sizes = []
    for _ in range(runs):
        samples = min(sizing.next(), waiting)
        sizes.append(samples)
        seconds = costs[samples] * samples
        sizing.ran(Run(samples, 0.0, seconds, seconds))
    return sizes


CHEAPER = {1: 1.0, 2: 0.8, 4: 0.7, 8: 0.65, 16: 0.6}
DEARER = {1: 1.0, 2: 1.05, 4: 1.1, 8: 1.2, 16: 1.4}
TURNING = {1: 1.0, 2: 0.8, 4: 0.7, 8: 0.9, 16: 1.2}


@pytest.mark.parametrize(("costs", "limit"), [(CHEAPER, 16), (DEARER, 1), (TURNING, 4)])
def test_the_largest_that_costs_no_more(costs: dict[int, float], limit: int) -> None:
    sizing = Sizing(16)
    sizes = learn(sizing, costs)
    assert sizing.limit == limit
    assert sizes[200:].count(limit) >= 0.95 * len(sizes[200:])


def test_what_has_changed_is_noticed() -> None:
    sizing = Sizing(16)
    for costs, limit in ((DEARER, 1), (CHEAPER, 16), (DEARER, 1)):
        learn(sizing, costs, 20_000)
        assert sizing.limit == limit


def test_trials_need_somebody_who_waits() -> None:
    sizing = Sizing(16)
    assert set(learn(sizing, CHEAPER, waiting=1)) == {1}
    assert sizing.limit == 1


def test_one_is_one() -> None:
    assert set(learn(Sizing(1), CHEAPER)) == {1}
