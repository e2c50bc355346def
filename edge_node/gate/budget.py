"""What may be sent: a pace that the threshold follows, and a bucket that is never overdrawn.

The pace (``RateTracker``) moves the threshold so that the least certain samples win the budget,
whatever the stream does. The bucket (``TokenBucket``) is the hard limit: it is asked last, once the
circuit breaker and the deadline have consented. Where more than one thing is scarce each has a pace,
and the slowest leads. A price for each that adds up holds both as well and finds up to a twentieth more
gain for them (``tests/gate/test_budget.py``), yet sends the smallest, not the least certain, and has no
threshold that could be compared with the certified one.
"""

import math
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from threading import Lock

DAY = 86_400.0
GAMMA = 0.02
"""How far one sample moves the pace, in shares of the stream: 50 samples cross all of it."""
Clock = Callable[[], float]


class Mode(StrEnum):
    """Which of the two gives way where the budget is short of what the certificate needs."""

    ACCURACY_FIRST = "accuracy-first"
    """The certified threshold is a floor: the pace may be exceeded, up to the bucket."""
    BUDGET_FIRST = "budget-first"
    """The pace decides: what it keeps below the certified threshold is charged to the promise."""
    BUDGET_CAP = "budget-cap"
    """As budget-first, but what the certificate does not ask for is saved, not spent."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """A score's distribution on TUNE: ``table[i]`` is its quantile i / (len - 1)."""

    table: Sequence[float]

    def score(self, share: float) -> float:
        """The threshold that defers a ``share`` of TUNE: none of anything at 0, and all above 1."""
        if share <= 0:
            return -math.inf
        if share > 1:
            return math.inf
        at = share * (len(self.table) - 1)
        below = min(int(at), len(self.table) - 2)
        low, high = self.table[below : below + 2]
        return min(high, low + (at - below) * (high - low))

    def share(self, score: float) -> float:
        """The share of TUNE that a threshold of ``score`` defers."""
        steps = len(self.table) - 1
        above = bisect_left(self.table, score)
        if above == 0:
            return 0.0
        if above > steps:
            return 1.0
        low, high = self.table[above - 1], self.table[above]
        return (above - 1 + (score - low) / (high - low)) / steps


class RateTracker:
    """Gibbs and Candes' adaptive recursion (2021) on offload: the mean use follows the target.

    ``share`` is the threshold in quantile space. As long as samples below it are sent and no others,
    the mean of T uses in [0, 1] is within (1 + gamma) / (gamma T) of the mean target, on any stream.
    """

    def __init__(self, start: float, gamma: float = GAMMA) -> None:
        self.share, self._gamma = start, gamma

    def update(self, used: float, target: float) -> None:
        """Account for one sample. Credit beyond all of the stream is forgotten: it is no debt to be spent."""
        self.share = min(self.share - self._gamma * (used - target), 1 + self._gamma)

    def floor(self) -> None:
        """Forget debt beyond none of the stream: somebody else's decision ran it up."""
        self.share = max(self.share, -self._gamma)


Target = Callable[[int], tuple[float, float]]
"""Payload bytes of a sample -> (its use if it is sent, what is due to it), both in [0, 1]."""


@dataclass(frozen=True)
class ShareTarget:
    """Send a share of the samples."""

    share: float

    def __call__(self, nbytes: int) -> tuple[float, float]:  # noqa: ARG002 - every sample counts the same
        """(use of one sample that is sent, its target)."""
        return 1.0, self.share


class ByteTarget:
    """Send so many bytes a second, however many samples come: idle time earns one sample's worth at most."""

    def __init__(self, rate: float, largest: float, clock: Clock = time.monotonic) -> None:
        self._rate, self._largest, self._clock = rate, largest, clock
        self._last = clock()

    def __call__(self, nbytes: int) -> tuple[float, float]:
        """(use of one sample that is sent, its target), in largest payloads."""
        now = self._clock()
        earned = self._rate * (now - self._last)
        self._last = now
        return nbytes / self._largest, min(1.0, earned / self._largest)


class Controller:
    """The threshold at run time: what the budget can pay for, reconciled with what the certificate needs.

    Starts at the certified threshold, ``safe()``. Frozen while ``suspended()`` (the circuit breaker is
    open): what cannot be sent says nothing about the pace. One lock over decision and update, so that
    the bound holds for any number of threads.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        quantiles: Quantiles,
        safe: Callable[[], float],
        mode: Mode = Mode.ACCURACY_FIRST,
        suspended: Callable[[], bool] = lambda: False,
    ) -> None:
        self._quantiles, self._safe = quantiles, safe
        self._mode, self._suspended, self._lock = mode, suspended, Lock()
        self._paces = [(target, RateTracker(quantiles.share(safe()))) for target in targets]

    @property
    def threshold(self) -> float:
        """The score below which a sample is deferred now."""
        return self._reconciled(self._quantiles.score(self.share), self._safe())

    @property
    def share(self) -> float:
        """The share of TUNE that the budget alone would defer: what is scarcest decides."""
        return min(tracker.share for _, tracker in self._paces)

    def accepts(self, score: float, nbytes: int) -> bool:
        """Whether the edge answers for a sample of this score and payload; the pace takes note.

        NaN is never accepted, whatever the pace: only the bucket can refuse it.
        """
        with self._lock:
            accepted = score >= self.threshold
            if not self._suspended():
                self._account(nbytes, accepted=accepted, forgive=math.isnan(score))
            return accepted

    def _account(self, nbytes: int, *, accepted: bool, forgive: bool) -> None:
        for target, tracker in self._paces:
            used, due = target(nbytes)
            tracker.update(0.0 if accepted else used, due)
            if forgive or self._mode is Mode.ACCURACY_FIRST:
                tracker.floor()

    def _reconciled(self, paid: float, safe: float) -> float:
        if self._mode is Mode.ACCURACY_FIRST:
            return max(paid, safe)
        return paid if self._mode is Mode.BUDGET_FIRST else min(paid, safe)


class TokenBucket:
    """Bytes that may be sent: ``rate`` a second, ``capacity`` at once.

    In any window of w seconds at most capacity + rate x w bytes are used. What is under way counts
    against the capacity until it is settled: else a refund could be spent twice. Thread-safe.
    """

    def __init__(self, rate: float, capacity: float, clock: Clock = time.monotonic) -> None:
        self.rate, self.capacity = rate, capacity
        self._clock, self._lock = clock, Lock()
        self._level, self._pending, self._last = capacity, 0.0, clock()

    @classmethod
    def a_day(cls, nbytes: float, clock: Clock = time.monotonic) -> "TokenBucket":
        """At most ``nbytes`` in any 24 hours, and at most an hour's worth at once."""
        burst = nbytes / 24
        return cls((nbytes - burst) / DAY, burst, clock)

    def take(self, nbytes: float) -> bool:
        """Charge the most that a call may use, if it is there; ``settle`` must follow, once."""
        with self._lock:
            self._refill()
            if nbytes > self._level:
                return False
            self._level -= nbytes
            self._pending += nbytes
            return True

    def settle(self, charged: float, used: float) -> None:
        """Give back what a call did not use. What it used beyond its charge is a debt, paid first."""
        with self._lock:
            self._refill()
            self._pending -= charged
            self._level += charged - used

    @property
    def level(self) -> float:
        """Bytes that could be charged now."""
        with self._lock:
            self._refill()
            return self._level

    def _refill(self) -> None:
        now = self._clock()
        self._level = min(self._level + self.rate * (now - self._last), self.capacity - self._pending)
        self._last = now


class Together:
    """Any number of buckets, each of which has to pay: none is no bound. Thread-safe, as each of them is."""

    def __init__(self, *buckets: TokenBucket) -> None:
        self._buckets = buckets

    def take(self, nbytes: float) -> bool:
        """Charge all of them, or none."""
        for number, bucket in enumerate(self._buckets):
            if not bucket.take(nbytes):
                for charged in self._buckets[:number]:
                    charged.settle(nbytes, 0)
                return False
        return True

    def settle(self, charged: float, used: float) -> None:
        """As ``TokenBucket.settle``, of all."""
        for bucket in self._buckets:
            bucket.settle(charged, used)
