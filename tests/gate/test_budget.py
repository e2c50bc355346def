"""The pace of offloading: bounds that hold for every stream, and what a fixed threshold does on the same."""

import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Lock
from typing import cast

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_node.gate.budget import (
    GAMMA,
    ByteTarget,
    Controller,
    Mode,
    Quantiles,
    RateTracker,
    ShareTarget,
    Target,
)

UNIFORM = Quantiles(np.linspace(0, 1, 257).tolist())
"""Scores that are their own quantiles."""
SLACK = (1 + GAMMA) / GAMMA

block = st.tuples(st.sampled_from(["constant", "sawtooth", "free"]), st.integers(1, 80), st.floats(-0.5, 1.5))


def scores(kind: str, length: int, value: float) -> list[float]:
    if kind == "constant":
        return [value] * length
    if kind == "sawtooth":
        return [value + step / length for step in range(length)]
    return [round(value)] * length


def flat(blocks: list[tuple[str, int, float]]) -> list[float]:
    return [score for kind, length, value in blocks for score in scores(kind, length, value)]


streams = st.lists(block, max_size=12).map(flat)
targets = st.floats(0.01, 0.99)


def control(target: float, mode: Mode = Mode.BUDGET_FIRST, safe: float = 0.3) -> Controller:
    return Controller([ShareTarget(target)], UNIFORM, lambda: safe, mode)


def excess(controller: Controller, stream: list[float], target: float) -> list[float]:
    """Samples sent beyond the target after each sample, or short of it."""
    sent = [0.0 if controller.accepts(score, 1) else 1.0 for score in stream]
    return list(np.cumsum(sent) - target * np.arange(1, len(sent) + 1))


@given(streams, targets)
def test_the_mean_offload_is_within_its_bound_on_any_stream(stream: list[float], target: float) -> None:
    assert all(abs(over) <= SLACK + 1e-6 for over in excess(control(target), stream, target))


@given(targets, st.floats(0, 1), st.integers(1, 2000))
def test_an_adversary_who_sees_the_threshold_does_not_break_the_bound(
    target: float, spite: float, length: int
) -> None:
    controller, over = control(target), 0.0
    for step in range(length):
        score = controller.threshold + (1e-9 if (step * spite) % 1 < 0.5 else -1e-9)
        score = min(max(score, -2.0), 2.0)
        over += (not controller.accepts(score, 1)) - target
        assert abs(over) <= SLACK + 1e-6


@given(streams, targets)
def test_a_cap_is_not_exceeded_and_a_floor_is_served(stream: list[float], target: float) -> None:
    assert all(over <= SLACK + 1e-6 for over in excess(control(target, Mode.BUDGET_CAP), stream, target))
    first = excess(control(target, Mode.ACCURACY_FIRST), stream, target)
    assert all(over >= -SLACK - 1e-6 for over in first)


@given(st.lists(st.tuples(st.floats(0, 20), st.integers(1, 3000), st.floats(0, 1)), max_size=300))
def test_bytes_stay_within_rate_times_time_and_a_burst(stream: list[tuple[float, int, float]]) -> None:
    """Some payloads are larger than the largest was thought to be."""
    now, rate, largest, sent = [0.0], 50.0, 1000, 0
    controller = Controller(
        [ByteTarget(rate, largest, lambda: now[0])], UNIFORM, lambda: 0.3, Mode.BUDGET_FIRST
    )
    for wait, nbytes, score in stream:
        now[0] += wait
        sent += 0 if controller.accepts(score, nbytes) else nbytes
        assert sent <= rate * now[0] + largest / GAMMA + 3000 + 1e-6


def drifting(count: int = 20_000) -> list[float]:
    """Uniform scores; in the second half of the stream confidence collapses."""
    draw = np.random.default_rng(5).random(count)
    draw[count // 2 :] *= 0.222
    return list(draw)


def worst_window(sent: list[bool], target: float) -> float:
    means = np.convolve(sent, np.full(1000, 1e-3), "valid")
    return float(np.abs(means - target).max())


def test_a_drift_moves_the_pace_by_points_and_a_fixed_threshold_to_ninety_percent() -> None:
    stream, controller = drifting(), control(0.2, safe=0.2)
    assert worst_window([not controller.accepts(score, 1) for score in stream], 0.2) < 0.04
    fixed = [score < 0.2 for score in stream]
    assert worst_window(fixed, 0.2) > 0.65
    assert abs(sum(fixed) - 0.2 * len(fixed)) > SLACK  # the bound of the first test can be broken


@pytest.mark.parametrize(("before", "after"), [(0.9, 0.1), (0.1, 0.9)])
def test_the_pace_crosses_a_drift_in_as_many_steps_as_its_size_takes(before: float, after: float) -> None:
    """Down by gamma (1 - target) a step, where all is sent; up by gamma x target, where nothing is."""
    target = 0.25
    controller = control(target, safe=before)
    speed = GAMMA * (1 - target if after < before else target)
    steps = math.ceil(abs(after - before) / speed)
    tight = [after + (1e-3 if after > before else -1e-3)] * steps  # on the far side, just beyond
    for score in tight:
        controller.accepts(score, 1)
    assert abs(controller.share - after) <= GAMMA


def test_an_open_breaker_freezes_the_pace() -> None:
    open_now = [True]
    controller = Controller(
        [ShareTarget(0.2)], UNIFORM, lambda: 0.3, Mode.BUDGET_FIRST, suspended=lambda: open_now[0]
    )
    before = controller.share
    for score in (0.0, 1.0, 0.1) * 100:
        controller.accepts(score, 1)
    assert controller.share == before
    open_now[0] = False
    controller.accepts(0.0, 1)
    assert controller.share < before


@pytest.mark.parametrize(
    ("mode", "rich", "poor"),
    [(Mode.ACCURACY_FIRST, 0.8, 0.3), (Mode.BUDGET_FIRST, 0.8, 0.1), (Mode.BUDGET_CAP, 0.3, 0.1)],
)
def test_budget_and_certificate_are_reconciled_as_the_mode_says(mode: Mode, rich: float, poor: float) -> None:
    def mean(target: float) -> float:
        controller = control(target, mode)
        draw = np.random.default_rng(1).random(20_000).tolist()
        sent = [not controller.accepts(score, 1) for score in draw]
        return float(np.mean(sent))

    assert mean(0.8) == pytest.approx(rich, abs=0.02)
    assert mean(0.1) == pytest.approx(poor, abs=0.02)


def test_the_least_certain_samples_win_the_budget() -> None:
    controller, draw = control(0.1), np.random.default_rng(2).random(10_000)
    sent = np.array([not controller.accepts(score, 1) for score in draw.tolist()])
    assert draw[sent].max() < 0.35
    assert draw[sent].mean() < 0.07


def test_a_score_that_is_no_number_is_never_accepted_and_runs_up_no_debt() -> None:
    controller = control(0.2)
    assert not any(controller.accepts(math.nan, 1) for _ in range(1000))
    assert controller.share == pytest.approx(-GAMMA)
    assert controller.accepts(0.0, 1)


class Hesitant(RateTracker):
    """Others take their turn between what it reads and what it writes, unless a lock forbids it."""

    def update(self, used: float, target: float) -> None:
        share = self.share
        time.sleep(0)
        self.share = share
        super().update(used, target)


@pytest.mark.parametrize("locked", [True, False])
def test_sixty_four_at_once_lose_no_sample_and_without_the_lock_they_do(*, locked: bool) -> None:
    """The bound holds as the pace has moved by exactly what was sent beyond the target."""
    controller = control(0.2)
    controller._paces = [(ShareTarget(0.2), Hesitant(0.3))]
    if not locked:
        controller._lock = cast("Lock", nullcontext())

    def sent(stream: list[float]) -> int:
        return sum(not controller.accepts(score, 1) for score in stream)

    streams = np.array(drifting(6400)).reshape(-1, 64).T.tolist()
    with ThreadPoolExecutor(64) as pool:
        over = sum(pool.map(sent, streams)) - 0.2 * 6400
    assert ((0.3 - controller.share) / GAMMA == pytest.approx(over, abs=1e-6)) is locked
    assert not locked or abs(over) <= SLACK


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=40).map(sorted), st.floats(0.001, 1))
@example([-1.0, 0.02], 1.0)  # the sum of what lies between is more than the whole
def test_a_share_becomes_a_score_and_back(table: list[float], share: float) -> None:
    quantiles = Quantiles(table)
    score = quantiles.score(share)
    assert table[0] <= score <= table[-1]
    assert quantiles.share(score) <= share + 1e-9  # less where scores tie
    assert quantiles.score(0.0) == -math.inf
    assert quantiles.score(1.001) == math.inf
    assert (quantiles.share(-math.inf), quantiles.share(math.inf)) == (0.0, 1.0)


class Priced:
    """Two budgets by price: what is sent has to gain more than its shares of both cost."""

    def __init__(self, *targets: Target) -> None:
        self._prices = dict.fromkeys(targets, 0.0)

    def accepts(self, score: float, nbytes: int) -> bool:
        sent = 1 - score > sum(price * target(nbytes)[0] for target, price in self._prices.items())
        for target, price in self._prices.items():
            used, due = target(nbytes)
            self._prices[target] = max(0.0, price + GAMMA * (sent * used - due))
        return not sent


def uneven(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scores and payloads: as they are, then unsure and small, then unsure and large, then sure."""
    scores, payloads = rng.random((4, 5000)), rng.integers(200, 1001, (4, 5000))
    scores[1] *= 0.25
    payloads[1] //= 3
    payloads[2] = rng.integers(800, 1001, 5000)
    scores[3] = 0.6 + 0.4 * scores[3]
    return scores.ravel(), payloads.ravel()


def test_paces_hold_two_budgets_as_prices_do_and_leave_little_of_the_gain() -> None:
    """Gain: 1 - score. The least certain of the samples are sent; by price it is the smallest, too."""
    targets: list[Target] = [ShareTarget(0.3), lambda nbytes: (nbytes / 1000, 0.15)]
    scores, payloads = uneven(np.random.default_rng(6))
    paced = Controller(targets, UNIFORM, lambda: 0.3, Mode.BUDGET_FIRST)
    gains, sizes = [], []
    for way in (paced, Priced(*targets)):
        pairs = zip(scores.tolist(), payloads.tolist(), strict=True)
        sent = np.array([not way.accepts(score, nbytes) for score, nbytes in pairs])
        assert np.cumsum(sent - 0.3).max() <= SLACK
        assert np.cumsum(sent * payloads / 1000 - 0.15).max() <= SLACK
        gains.append((sent * (1 - scores)).sum())
        sizes.append(payloads[sent].mean())
    assert 0.9 < gains[0] / gains[1] < 1
    assert sizes[0] > sizes[1]


@given(streams, targets, targets)
def test_of_two_budgets_neither_is_exceeded(stream: list[float], one: float, other: float) -> None:
    both = Controller([ShareTarget(one), ShareTarget(other)], UNIFORM, lambda: 0.0, Mode.BUDGET_FIRST)
    for target in (one, other):
        assert all(over <= SLACK + 1e-6 for over in excess(both, stream, target))
