"""Single calls that are here and are not answered yet.

Each that is being answered has a thread, so of a kind only as many are as can run, or share runs; the others
wait behind them, in no thread. Where there are several kinds, of each twice as many are: order by caller and
priority is kept where all skins meet, and there it has to be seen who comes next.
"""

from collections import deque
from collections.abc import Sequence
from threading import Lock
from typing import Generic, TypeVar

from cloud_server.room import Room

Kind = tuple[str | None, int]
"""Whose, and with which priority."""
T = TypeVar("T")


class Hall(Generic[T]):
    """Of each kind as many are answered as are ``wanted`` at the time. Any number of threads may ask."""

    def __init__(self, wanted: int, room: Room) -> None:
        """They are in the ``room``, and leave it with an answer."""
        self.wanted, self._room = wanted, room
        self._waiting: dict[Kind, deque[T]] = {}
        self._active: dict[Kind, int] = {}
        self._here, self._lock = 0, Lock()

    def __len__(self) -> int:
        return self._here

    def enter(self, call: T, kind: Kind) -> Sequence[tuple[T, Kind]]:
        """One is here; which are to be answered from now on."""
        with self._lock:
            self._here += 1
            active = self._active.get(kind, 0)
            new = not active and bool(self._active)  # of which the others are to hear
            if not new and kind not in self._waiting and active < self._most():
                self._active[kind] = active + 1
                return ((call, kind),)
            self._waiting.setdefault(kind, deque()).append(call)
            self._active[kind] = active
            return self._next()

    def leave(self, kind: Kind) -> Sequence[tuple[T, Kind]]:
        """One has been answered; which are to be from now on."""
        self._room.leave(kind[0])
        with self._lock:
            self._here -= 1
            self._active[kind] -= 1
            due = self._next() if self._waiting else ()
            if not self._active[kind]:
                del self._active[kind]
            return due

    def _most(self) -> int:
        return self.wanted if len(self._active) <= 1 else 2 * self.wanted

    def _next(self) -> Sequence[tuple[T, Kind]]:
        most, due = self._most(), []
        for kind in [*self._waiting]:
            queue, active = self._waiting[kind], self._active[kind]
            while queue and active < most:
                due.append((queue.popleft(), kind))
                active += 1
            self._active[kind] = active
            if not queue:
                del self._waiting[kind]
        return due
