"""Single calls that have come and are not answered yet.

What waits costs more than what a small model computes, once it has been read. So only as many calls are read
at once as can run, or share runs; the others wait unread, in no thread. Only where several callers or
priorities ask are all read, to be put in order.
"""

import time
from collections import deque
from threading import Lock
from typing import Generic, TypeVar

SMOOTH = 1 / 32
"""Weight of the newest in a mean."""
DOUBT = 0.9
"""So much of what is thought of the pace is left each time that nobody waits: else a door that was closed by
one bad moment would never learn of a better one."""

T = TypeVar("T")


class Hall(Generic[T]):
    """As many calls are read and answered as are ``wanted`` at the time. Any number of threads may ask."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self._calls = deque[T]()
        self._active, self._lock = 0, Lock()
        self._pace = self._ended = 0.0
        self.inside = 0
        """Calls that wait or are being answered."""

    def __len__(self) -> int:
        return self.inside

    def unread(self) -> int:
        """Calls of which nobody knows yet what they ask."""
        return len(self._calls)

    @property
    def wait(self) -> float:
        """Seconds that one more call would take, by how fast they have been answered of late."""
        return self._pace * self.inside

    def enter(self, call: T) -> T | None:
        """One has come: if one more is to be read and answered for it, which."""
        with self._lock:
            self._calls.append(call)
            self.inside += 1
            if self._active >= self.wanted:
                return None
            self._active += 1
            return self._next()

    def leave(self) -> T | None:
        """One has been answered: the next one to be read, if any is."""
        with self._lock:
            self.inside -= 1
            if self._calls and self._active <= self.wanted:
                return self._next()
            self._active -= 1
            self._ended, self._pace = 0.0, DOUBT * self._pace
            return None

    def _next(self) -> T:
        """And how long it takes from one call to the next, while there is a next."""
        now = time.perf_counter()
        if self._ended:
            self._pace += (now - self._ended - self._pace) * SMOOTH
        self._ended = now
        return self._calls.popleft()
