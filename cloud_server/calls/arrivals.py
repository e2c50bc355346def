"""Calls whose message is on its way.

A device on a poor link sends for seconds, and who means ill never ends. For a moment each is counted with
those who wait; whoever takes longer is in nobody's way, and in the end is refused.
"""

import time
from collections.abc import Callable, Collection
from itertools import takewhile
from threading import Lock
from typing import Generic, TypeVar

from cloud_server.room import Room

MOMENT = 0.05
"""Seconds for which a call is thought to be here at once."""
PATIENCE = 60.0
"""Seconds that a message may take to come."""

Came = tuple[float, str | None]
"""When, and whose it is."""
T = TypeVar("T")


class Arrivals(Generic[T]):
    """``most`` at once, in a moment's time in the ``room``. Any number of threads may ask."""

    def __init__(self, room: Room, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._room, self._most, self._clock = room, most, clock
        self._soon: dict[T, Came] = {}
        self._slow: dict[T, Came] = {}
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._soon) + len(self._slow)

    def expect(self, call: T, who: str | None) -> Collection[T]:
        """It is on its way. Which others have been for too long, or are too many, and are let go."""
        now = self._clock()
        self._room.enter(who)
        with self._lock:
            self._soon[call] = now, who
            aged = next(iter(self._soon.values()))[0] < now - MOMENT
            return self._let_go(now) if aged or self._slow else ()

    def arrived(self, call: T) -> bool:
        """Whether it is in the room from now on; else it has been let go."""
        with self._lock:
            if self._soon.pop(call, None):
                return True
            came = self._slow.pop(call, None)
        if came:
            self._room.enter(came[1])
        return came is not None

    def _let_go(self, now: float) -> Collection[T]:
        for call, came in _before(self._soon, now - MOMENT).items():
            del self._soon[call]
            self._slow[call] = came
            self._room.step_out(came[1])
        late = (
            list(_before(self._slow, now - PATIENCE))
            or list(self._slow)[: max(0, len(self._slow) - self._most)]
        )
        for call in late:
            del self._slow[call]
        return late


def _before(calls: dict[T, Came], when: float) -> dict[T, Came]:
    """Those that came before then; they are in order."""
    return dict(takewhile(lambda it: it[1][0] < when, calls.items()))
