"""Who looks for what comes, where those who look also do what is to be done.

More of them than are busy take turns for nothing, each with cold caches. So there are as many as have lately
been at work at once; and where all are, one more soon looks, so that nobody who comes is left unheard.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, Semaphore

PATIENCE = 0.005
"""Seconds for which nobody may look: at once somebody else would be woken for each small piece of work."""
BUSY, SPARE = 16, 64
"""So many times in a row nobody looked after that long: one more is wanted. So many times in a row somebody
still looked when another went to work: one less is."""
MANY = 1 << 13
"""Threads: more than there are ever calls to be at work for."""


class Lookout:
    """Threads that look. While one does something else it is inside."""

    def __init__(self, look: Callable[[], object], most: int) -> None:
        """``look`` until ``crowded``; ``most`` do for long."""
        self._look, self._most = look, most
        self.looking, self.wanted = 0, 1
        """So many do, and so many are to: if there are more, one may be too many."""
        self._pool = ThreadPoolExecutor(MANY, "wire")
        self._returns = self._busy = self._spare = 0
        self._lock, self._nobody = Lock(), Semaphore(0)
        self._resting, self._ended = True, False

    def start(self) -> None:
        """Look."""
        self._pool.submit(self._deputise)
        self._more()

    def end(self) -> None:
        """There is nothing to look for any more. Every thread ends when it has done what it does."""
        self._ended = True
        self._nobody.release()
        self._pool.shutdown(wait=False)

    def require(self) -> None:
        """Somebody looks from now on: who asks is going to wait."""
        if not self.looking:
            self._more()

    def alert(self) -> None:
        """More will come than can be answered: for a while somebody looks whoever is at work."""
        if self.wanted <= self._most:
            self.wanted, self._spare = self._most + 1, 0
            self.require()

    def elsewhere(self, act: Callable[..., object], *args: object) -> None:
        """In a thread that does not look."""
        self._pool.submit(act, *args)

    def crowded(self) -> bool:
        """Whether there are enough without the one that asks: then it no longer counts."""
        with self._lock:
            crowded = self.looking > self.wanted
            self.looking -= crowded
        return crowded

    def __enter__(self) -> None:
        with self._lock:
            self.looking -= 1
            self._spare = self._spare + 1 if self.looking else 0
            if self._spare >= SPARE:
                self.wanted, self._spare = max(1, self.wanted - 1), 0
            tell = self._resting and not self.looking
            self._resting = self._resting and not tell
        if tell:
            self._nobody.release()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.looking += 1
            self._returns += 1

    def _more(self) -> None:
        with self._lock:
            self.looking += 1
        self._pool.submit(self._look)

    def _deputise(self) -> None:
        """Have one more look when nobody has for a while."""
        while self._nobody.acquire() and not self._ended:
            while not self._resting:
                returns = self._returns
                time.sleep(PATIENCE)
                if self._grows() or not (self.looking or self._returns > returns):
                    self._more()

    def _grows(self) -> bool:
        """Whether one more is wanted from now on."""
        with self._lock:
            self._resting = self.looking > 0
            self._busy = 0 if self._resting else self._busy + 1
            grows = self._busy >= BUSY and self.wanted < self._most
            if grows:
                self.wanted, self._busy = self.wanted + 1, 0
        return grows
