"""The hard limit: no window of time uses more than it may, whoever calls, whenever it is settled."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.gate.budget import DAY, TokenBucket

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


@pytest.mark.parametrize("refund", [0.0, 0.5])
def test_sixty_four_at_once_take_what_is_there_and_no_more(refund: float) -> None:
    bucket, barrier, threads = TokenBucket(0, 10_000, lambda: 0.0), Barrier(64), 64

    def spend(_: int) -> float:
        barrier.wait()
        used = 0.0
        for _attempt in range(100):
            if bucket.take(7):
                used += 7 * (1 - refund)
                bucket.settle(7, 7 * (1 - refund))
            assert bucket.level >= 0
        return used

    with ThreadPoolExecutor(threads) as pool:
        used = sum(pool.map(spend, range(threads)))
    assert used <= 10_000
    assert bucket.level == pytest.approx(10_000 - used)
    assert used == pytest.approx(10_000, abs=7)  # all asked for more than there was


def spent(bucket: TokenBucket, now: list[float], want: Callable[[int], float], seconds: int) -> list[Use]:
    uses = []
    for second in range(0, seconds, 60):
        now[0] = float(second)
        if bucket.take(nbytes := want(second)):
            bucket.settle(nbytes, nbytes)
            uses.append((now[0], nbytes))
    return uses


def test_a_day_holds_what_a_day_may_use_even_the_greediest() -> None:
    now = [0.0]
    uses = spent(TokenBucket.a_day(1e6, lambda: now[0]), now, lambda _: 50.0, 3 * 86_400)
    uses += spent(TokenBucket.a_day(1e6, lambda: now[0]), now, lambda _: 5000.0, 0)
    for start, _ in uses[::100]:
        assert sum(nbytes for moment, nbytes in uses if start <= moment < start + DAY) <= 1e6


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
