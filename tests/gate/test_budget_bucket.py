"""The hard limit: no window of time uses more than it may, whoever calls, whenever it is settled."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from threading import Barrier, Lock
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.gate.budget import DAY, Clock, Together, TokenBucket

RATE, CAPACITY = 7.0, 100.0

steps = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0, 20)),
        st.tuples(st.just("take"), st.floats(0, 120)),
        st.tuples(st.just("settle"), st.floats(0, 1)),
    ),
    max_size=80,
)
Step = tuple[str, float]
Use = tuple[float, float]


class Forgetful(TokenBucket):
    """Refills to the brim while calls are under way, as buckets do that know of no settlement."""

    def _refill(self) -> None:
        now = self._clock()
        self._level = min(self._level + self.rate * (now - self._last), self.capacity)
        self._last = now


def play(kind: type[TokenBucket], script: list[Step]) -> list[Use]:
    """(moment, bytes used) of all calls: each uses a share of its charge, at the moment it is settled."""
    now, uses = [0.0], []
    bucket, pending = kind(RATE, CAPACITY, lambda: now[0]), list[float]()
    for what, value in [*script, *[("settle", 1.0)] * len(script)]:
        if what == "wait":
            now[0] += value
        elif what == "take" and bucket.take(value):
            pending.append(value)
        elif what == "settle" and pending:
            charged = pending.pop(0)
            uses.append((now[0], charged * value))
            bucket.settle(charged, charged * value)
        assert bucket.level >= 0
    return uses


def overdrawn(uses: list[Use]) -> bool:
    """Whether any window from one use to another holds more than it may."""
    return any(
        sum(used for _, used in uses[first:last]) > CAPACITY + RATE * (uses[last - 1][0] - start) + 1e-6
        for first, (start, _) in enumerate(uses)
        for last in range(first + 1, len(uses) + 1)
    )


@given(steps)
def test_every_window_holds_at_most_capacity_and_rate(script: list[Step]) -> None:
    assert not overdrawn(play(TokenBucket, script))


def test_a_bucket_that_refills_beside_calls_under_way_is_overdrawn() -> None:
    script: list[Step] = [("take", 100), ("wait", 20), ("take", 100), ("settle", 1.0), ("settle", 1.0)]
    assert overdrawn(play(Forgetful, script))
    assert not overdrawn(play(TokenBucket, script))


class Hesitant(TokenBucket):
    """Others take their turn between what it reads and what it writes, unless a lock forbids it."""

    def _refill(self) -> None:
        level = self._level
        time.sleep(0)
        self._level = level
        super()._refill()


def spent_by_64(bucket: TokenBucket, refund: float) -> float:
    """Bytes used by as many threads, all of which want more than there is."""
    barrier = Barrier(64)

    def spend(_: int) -> float:
        barrier.wait()
        used = 0.0
        for _attempt in range(100):
            if bucket.take(7):
                used += 7 * (1 - refund)
                bucket.settle(7, 7 * (1 - refund))
        return used

    with ThreadPoolExecutor(64) as pool:
        return sum(pool.map(spend, range(64)))


@pytest.mark.parametrize("refund", [0.0, 0.5])
def test_sixty_four_at_once_take_what_is_there_and_no_more(refund: float) -> None:
    bucket = Hesitant(0, 10_000, lambda: 0.0)
    used = spent_by_64(bucket, refund)
    assert used <= 10_000
    assert bucket.level == pytest.approx(10_000 - used)
    assert used == pytest.approx(10_000, abs=7)


def test_without_its_lock_sixty_four_overdraw_it() -> None:
    """The negative control."""
    bucket = Hesitant(0, 10_000, lambda: 0.0)
    bucket._lock = cast("Lock", nullcontext())
    assert spent_by_64(bucket, 0.0) > 10_000


def test_of_two_buckets_both_pay_or_neither() -> None:
    large, small = (TokenBucket(0, capacity, lambda: 0.0) for capacity in (100, 50))
    for both in (Together(large, small), Together(small, large)):
        assert not both.take(60)
        assert (large.level, small.level) == (100, 50)
        assert both.take(40)
        assert (large.level, small.level) == (60, 10)
        both.settle(40, 0)
    assert Together().take(1e12), "none is no bound"


def fullest_day(make: Callable[[Clock], TokenBucket], silent: int) -> float:
    """Most bytes in 24 hours out of three days, if it is asked for more every minute after so many."""
    now, used = [0.0], np.zeros(3 * 1440)
    bucket = make(lambda: now[0])
    for minute in range(silent, len(used)):
        now[0] = 60.0 * minute
        if bucket.take(1400):
            bucket.settle(1400, 1400)
            used[minute] = 1400
    return float(np.convolve(used, np.ones(1440)).max())


@pytest.mark.parametrize("silent", [0, 1000])
def test_a_day_holds_what_a_day_may_use_and_hardly_less(silent: int) -> None:
    """Negative control: a day's bytes at a day's rate, and an hour's worth at once beside it."""
    assert 0.99e6 < fullest_day(partial(TokenBucket.a_day, 1e6), silent) <= 1e6
    assert fullest_day(partial(TokenBucket, 1e6 / DAY, 1e6 / 24), silent) > 1.03e6


def test_what_a_call_used_beyond_its_charge_is_paid_before_anything_is_sent() -> None:
    now = [0.0]
    bucket = TokenBucket(10, 100, lambda: now[0])
    assert bucket.take(100)
    bucket.settle(100, 130)
    assert bucket.level == -30
    now[0] = 2.9
    assert not bucket.take(1)
    now[0] = 4.0
    assert bucket.take(10)
