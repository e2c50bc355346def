"""Who looks for what comes, where those who look also do what is to be done."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, Semaphore

PATIENCE = 0.005
"""Seconds for which nobody may look: at once somebody else would be woken for each small piece of work."""
MANY = 1 << 13
"""Threads: more than there are ever calls to be at work for."""


class Lookout:
    """Threads that look. While one does something else it is inside; if all are, another one soon looks."""

    def __init__(self, look: Callable[[], object], enough: int) -> None:
        """``look`` until ``crowded``."""
        self._look, self._enough = look, enough
        self._pool = ThreadPoolExecutor(MANY, "wire")
        self._looking = self._returns = 0
        self._lock, self._nobody = Lock(), Semaphore(0)
        self._resting, self._ended = True, False

    def start(self) -> None:
        """Look, with as many as are enough."""
        self._pool.submit(self._deputise)
        for _ in range(self._enough):
            self._more()

    def end(self) -> None:
        """There is nothing to look for any more. Every thread ends when it has done what it does."""
        self._ended = True
        self._nobody.release()
        self._pool.shutdown(wait=False)

    def require(self) -> None:
        """Somebody looks from now on: who asks is going to wait."""
        if not self._looking:
            self._more()

    def crowded(self) -> bool:
        """Whether there are enough without the one that asks: then it no longer counts."""
        with self._lock:
            crowded = self._looking > self._enough
            self._looking -= crowded
        return crowded

    def __enter__(self) -> None:
        with self._lock:
            self._looking -= 1
            tell = self._resting and not self._looking
            self._resting = self._resting and not tell
        if tell:
            self._nobody.release()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._looking += 1
            self._returns += 1

    def _more(self) -> None:
        with self._lock:
            self._looking += 1
        self._pool.submit(self._look)

    def _deputise(self) -> None:
        """Have somebody look when nobody has for a while."""
        while self._nobody.acquire() and not self._ended:
            while not self._somebody():
                returns = self._returns
                time.sleep(PATIENCE)
                if returns == self._returns and not self._looking:
                    self._more()

    def _somebody(self) -> bool:
        with self._lock:
            self._resting = self._looking > 0
            return self._resting
