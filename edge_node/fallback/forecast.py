"""Whether the cloud's answer would come in time, by what the last calls took.

A call takes a time of its own and one for each byte. The second is the slope of an exponentially
weighted regression over payload sizes; the first is kept as the times of the last calls, less their
bytes' share. A call that ran out of time took longer than nobody knows: it counts as twice what it
had, so that those who wait for too long are not the only ones not seen.
"""

import time
from collections import deque
from collections.abc import Callable
from threading import Lock

CALLS = 64
"""As many calls are remembered,"""
FADE = 0.95
"""each of which weighs so much of the next."""
LIKELY = 0.5
"""Below this chance nothing is sent,"""
SCOUT_EVERY = (0.25, 5.0)
"""but for a scout after so many seconds, at first and at most: else nobody would learn of a better link."""

_WEIGHTS = tuple(FADE**age for age in range(CALLS))


class Forecast:
    """The chance of an answer in time. Thread-safe; a forecast without calls behind it hopes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, Lock()
        self._next_scout, self._patience = 0.0, SCOUT_EVERY[0]
        self._clear()

    def forget(self) -> None:
        """Begin again: what was before an outage says nothing of what comes after."""
        with self._lock:
            self._clear()

    def hopeful(self, size: int, left: float) -> bool:
        """Whether to send ``size`` bytes that have ``left`` seconds; yes, too, for a scout."""
        with self._lock:
            if self._likely(size, left):
                return True
            now = self._clock()
            if now < self._next_scout:
                return False
            self._next_scout = now + self._patience
            self._patience = min(2 * self._patience, SCOUT_EVERY[1])
            return True

    def answered(self, size: int, left: float, seconds: float) -> None:
        """A call that had ``left`` seconds took these. Against all odds: the odds were not the link's."""
        with self._lock:
            if not self._likely(size, left):
                self._clear()
            self._learn(size, seconds)

    def missed(self, size: int, left: float) -> None:
        """A call ran out of the ``left`` seconds it had."""
        with self._lock:
            self._learn(size, 2 * left)

    def _clear(self) -> None:
        self._calls: deque[tuple[int, float]] = deque(maxlen=CALLS)
        self._size = self._seconds = self._variance = self._covariance = 0.0
        self._slope = self._slowest = 0.0
        self._patience = SCOUT_EVERY[0]

    def _likely(self, size: int, left: float) -> bool:
        return left - self._slope * size >= self._slowest or self._chance(size, left) >= LIKELY

    def _chance(self, size: int, left: float) -> float:
        """Share of the last calls, by weight, that would have made it with this size; one more that hopes."""
        total = made = 1.0
        limit = left - self._slope * size
        for weight, (other, seconds) in zip(_WEIGHTS, reversed(self._calls), strict=False):
            total += weight
            if seconds - self._slope * other <= limit:
                made += weight
        return made / total

    def _learn(self, size: int, seconds: float) -> None:
        if not self._calls:
            self._size, self._seconds = float(size), seconds
        self._calls.append((size, seconds))
        new, wider, longer = 1 - FADE, size - self._size, seconds - self._seconds
        self._size += new * wider
        self._seconds += new * longer
        self._variance = FADE * (self._variance + new * wider * wider)
        self._covariance = FADE * (self._covariance + new * wider * longer)
        if self._variance:  # no less than nothing, and no more than if all the time were the bytes'
            self._slope = min(max(0.0, self._covariance / self._variance), self._seconds / self._size)
        self._slowest = max(seconds - self._slope * size for size, seconds in self._calls)
