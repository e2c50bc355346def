"""A circuit breaker (Nygard, "Release It!"): a cloud that keeps failing is left alone until it is seen again.

Closed: calls pass. Open: none does, somebody looks for the cloud from time to time. Half-open: it was
seen, and one call at a time is tried; two good ones close the circuit, a bad one opens it again.
"""

import random
import time
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from threading import Lock

WINDOW, SPAN = 20, 10.0
"""What is judged: the last calls, and none that ended more than so many seconds ago."""
FEWEST, SHARE = 5, 0.5
"""It opens at this share of failures among no fewer calls."""
GOOD_TRIALS = 2
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 5.0
"""Seconds before a look, at most: at first, and ever. A cloud that is back is to be seen within ten."""


class State(IntEnum):
    """Where the circuit stands; the number is the metric's."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """The state, told of every call and every look. Thread-safe.

    A permit belongs to the state in which it was given: how its call ends means nothing to another.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.state = State.CLOSED
        self._clock, self._lock = clock, Lock()
        self._ended: deque[tuple[float, bool]] = deque(maxlen=WINDOW)
        self._permit = self._openings = self._good_trials = 0
        self._trying = False

    def admit(self) -> int | None:
        """A permit for one call, to be handed to one of the next four; or None."""
        with self._lock:
            if self.state is State.OPEN or self._trying:
                return None
            self._trying = self.state is State.HALF_OPEN
            return self._permit

    def valid(self, permit: int) -> bool:
        """Whether nothing has changed since the permit was given."""
        return permit == self._permit

    def unused(self, permit: int) -> None:
        """The call was not made."""
        with self._lock:
            if permit == self._permit:
                self._trying = False

    def succeeded(self, permit: int) -> bool:
        """The call reached a working cloud; whether that closes the circuit."""
        with self._lock:
            if permit != self._permit:
                return False
            self._ended.append((self._clock(), True))
            self._trying = False
            self._good_trials += self.state is State.HALF_OPEN
            if self._good_trials < GOOD_TRIALS:
                return False
            self._openings = 0
            self._enter(State.CLOSED)
            return True

    def failed(self, permit: int) -> bool:
        """The call failed by the cloud's fault; whether that opens the circuit."""
        with self._lock:
            if permit != self._permit:
                return False
            self._ended.append((self._clock(), False))
            if self.state is State.CLOSED and not self._too_many():
                return False
            self._open()
            return True

    def lost(self) -> None:
        """A look in vain: there is no cloud, or it is not the one we know."""
        with self._lock:
            if self.state is not State.OPEN:
                self._open()

    def seen(self) -> None:
        """A look that found the cloud: a call may be tried."""
        with self._lock:
            if self.state is State.OPEN:
                self._enter(State.HALF_OPEN)

    def pause(self, looks: int) -> float:
        """Seconds until the next look, after so many in vain: doubled each time, with full jitter."""
        doublings = min(looks + max(0, self._openings - 1), 10)
        return random.uniform(0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**doublings))  # noqa: S311 - no secret

    def _too_many(self) -> bool:
        since = self._clock() - SPAN
        recent = [good for ended, good in self._ended if ended > since]
        return len(recent) >= FEWEST and recent.count(False) >= SHARE * len(recent)

    def _open(self) -> None:
        self._openings += 1
        self._enter(State.OPEN)

    def _enter(self, state: State) -> None:
        self.state, self._trying, self._good_trials = state, False, 0
        self._permit += 1
        self._ended.clear()
