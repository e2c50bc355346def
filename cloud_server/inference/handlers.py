"""The threads that answer single calls.

A thread that waits costs more than what a small model computes. So only as many calls are read at once as
can run, or share runs; the others wait unread, in no thread. Only where several callers or priorities ask
are all read, to be put in order.
"""

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Any

SMOOTH = 1 / 32
"""Weight of the newest in a mean."""
DOUBT = 0.9
"""So much of what is thought of the pace is left each time that nobody waits: else a door that was closed by
one bad moment would never learn of a better one."""


class Handlers(ThreadPoolExecutor):
    """As many threads at work as are ``wanted`` at the time, ``most`` at most."""

    def __init__(self, most: int, wanted: Callable[[], int]) -> None:
        super().__init__(most, "inference")
        self._wanted = wanted
        self._calls = deque[tuple[Future[Any], Callable[[], Any]]]()
        self._active, self._lock = 0, Lock()
        self._pace = self._ended = 0.0

    def __len__(self) -> int:
        """Calls that wait or are being answered."""
        return len(self._calls) + self._active

    def unread(self) -> int:
        """Calls of which nobody knows yet what they ask."""
        return len(self._calls)

    @property
    def wait(self) -> float:
        """Seconds that one more call would take, by how fast they have been answered of late."""
        return self._pace * len(self)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        with self._lock:
            self._calls.append((future, partial(fn, *args, **kwargs)))
            more = self._active < self._wanted()
            self._active += more
        if more:
            super().submit(self._work)
        return future

    def _work(self) -> None:
        while call := self._next():
            future, answer = call
            try:
                future.set_result(answer())
            except BaseException as error:  # noqa: BLE001 - it is the future's
                future.set_exception(error)

    def _next(self) -> tuple[Future[Any], Callable[[], Any]] | None:
        with self._lock:
            if self._calls and self._active <= self._wanted():
                self._learn()
                return self._calls.popleft()
            self._active -= 1
            self._ended, self._pace = 0.0, DOUBT * self._pace
            return None

    def _learn(self) -> None:
        """How long it takes from one call to the next, while there is a next."""
        now = time.perf_counter()
        if self._ended:
            self._pace += (now - self._ended - self._pace) * SMOOTH
        self._ended = now
