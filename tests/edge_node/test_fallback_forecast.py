"""The forecast of an answer in time, on links made of numbers."""

import random
from collections.abc import Callable

import pytest

from edge_node.fallback.forecast import SCOUT_EVERY, Forecast

Link = Callable[[int], float]
"""Bytes -> seconds that a call of them takes."""


class Clock:
    """A clock that is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Edge:
    """Calls by a forecast's word over a link."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.forecast = Forecast(self.clock)

    def calls(self, link: Link, size: int, left: float, count: int, every: float = 0.1) -> int:
        """How many of so many calls were sent."""
        sent = 0
        for _ in range(count):
            self.clock.now += every
            if self.forecast.hopeful(size, left):
                sent += 1
                self.ends(link(size), size, left)
        return sent

    def ends(self, took: float, size: int, left: float) -> None:
        if took <= left:
            self.forecast.answered(size, left, took)
        else:
            self.forecast.missed(size, left)


def constant(seconds: float) -> Link:
    return lambda _: seconds


def linear(round_trip: float, rate: float, noise: float = 0.0, seed: int = 0) -> Link:
    """A round trip, and so many bytes a second."""
    chance = random.Random(seed)
    return lambda size: round_trip + size / rate + chance.uniform(0, noise)


def test_without_experience_it_hopes() -> None:
    assert Forecast().hopeful(10**6, 0.001)


def test_a_call_with_less_time_than_calls_take_is_not_sent() -> None:
    edge = Edge()
    assert edge.calls(constant(0.1), 1000, left=0.5, count=20) == 20
    assert not_scouting(edge, 1000, 0.09)
    assert edge.forecast.hopeful(1000, 0.11)


def not_scouting(edge: Edge, size: int, left: float) -> bool:
    """Whether it is refused once the scout of this moment is on its way."""
    edge.forecast.hopeful(size, left)
    return not edge.forecast.hopeful(size, left)


def test_a_link_slower_than_the_deadline_gets_scouts_and_no_more() -> None:
    edge = Edge()
    edge.calls(constant(0.1), 1000, left=0.5, count=50)
    slow = edge.calls(constant(0.8), 1000, left=0.5, count=20)
    assert slow < 20, "offload ends within a window of calls"
    sent = edge.calls(constant(0.8), 1000, left=0.5, count=1000)
    assert sent == pytest.approx(1000 * 0.1 / SCOUT_EVERY[1], abs=5)


def test_a_link_that_is_fast_again_is_used_at_the_next_scout() -> None:
    edge = Edge()
    edge.calls(constant(0.8), 1000, left=0.5, count=500)
    refused = 0
    while not edge.calls(constant(0.1), 1000, left=0.5, count=1):
        refused += 1
    assert 0 < refused * 0.1 <= SCOUT_EVERY[1]
    assert edge.calls(constant(0.1), 1000, left=0.5, count=100) == 100


def test_a_link_just_good_enough_is_used_and_one_just_too_bad_is_not() -> None:
    chance = random.Random(1)
    for share, bound in ((0.7, (0.8, 1.0)), (0.15, (0.0, 0.3))):

        def link(_: int, share: float = share) -> float:
            return 0.3 if chance.random() < share else 0.7

        edge = Edge()
        edge.calls(link, 1000, left=0.5, count=100)
        low, high = bound
        assert low <= edge.calls(link, 1000, left=0.5, count=1000) / 1000 <= high


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_large_payloads_stay_and_small_ones_go(noise: float) -> None:
    """40 kB take 0.45 s of the 0.3 s there are; 1 kB takes 0.06 s."""
    edge, link = Edge(), linear(0.05, 100_000, noise)
    large = small = 0
    for _ in range(300):
        small += edge.calls(link, 1_000, left=0.3, count=1)
        large += edge.calls(link, 40_000, left=0.3, count=1)
    assert small >= 295
    assert large <= 300 * 0.2 / SCOUT_EVERY[1] + 10


def test_large_payloads_that_arrive_in_time_are_sent() -> None:
    edge, link = Edge(), linear(0.05, 400_000, 0.02)
    for _ in range(300):
        assert edge.calls(link, 1_000, left=0.3, count=1)
        assert edge.calls(link, 40_000, left=0.3, count=1)


def test_what_large_ones_take_is_known_before_any_as_large_was_sent() -> None:
    edge, link = Edge(), linear(0.05, 100_000)
    chance = random.Random(2)
    for _ in range(50):
        edge.calls(link, chance.randint(1_000, 10_000), left=0.5, count=1)
    assert not_scouting(edge, 60_000, 0.5)
    assert edge.forecast.hopeful(40_000, 0.5)


def test_a_timeout_counts_although_it_was_never_measured() -> None:
    """Else the answers alone would say that all are in time."""
    edge = Edge()
    for _ in range(20):
        edge.ends(0.1, 1000, 0.5)
    for _ in range(20):
        edge.ends(9.0, 1000, 0.5)
    assert not_scouting(edge, 1000, 0.5)


def test_after_an_outage_it_begins_again() -> None:
    edge = Edge()
    edge.calls(constant(0.8), 1000, left=0.5, count=50)
    assert not_scouting(edge, 1000, 0.5)
    edge.forecast.forget()
    assert edge.calls(constant(0.1), 1000, left=0.5, count=10) == 10


@pytest.mark.parametrize("size", [0, 1, 10**9])
def test_any_size_and_any_time_left_are_a_question(size: int) -> None:
    edge = Edge()
    for other in (0, size, 0, size):
        edge.ends(0.1, other, 0.5)
        edge.ends(0.6, other, 0.5)
    assert edge.forecast.hopeful(size, 10.0)
