"""Where all are who ask for answers: how many there are, and how long one more would wait.

Who asks for much leaves some room to who asks for little.
"""

import time
from threading import Lock

SMOOTH = 1 / 32
"""Weight of the newest in a mean."""
DOUBT = 0.9
"""So much of what is thought of the pace is left each time that nobody waits: else one bad moment would count
for good."""


class Room:
    """For ``most``, by who they are; ``None`` is everybody who has no name. Any number of threads may ask."""

    def __init__(self, most: int, runs: int = 1) -> None:
        """``runs``: so many are answered at once."""
        self._most, self._runs, self._lock = most, runs, Lock()
        self._of: dict[str | None, int] = {}
        self._pace = self._left = 0.0
        self.inside = 0

    def enter(self, who: str | None) -> None:
        """One more of theirs is inside."""
        with self._lock:
            self.inside += 1
            self._of[who] = self._of.get(who, 0) + 1

    def leave(self, who: str | None) -> None:
        """One of theirs has been answered."""
        with self._lock:
            self._out(who)
            now = time.perf_counter()
            if self._left:
                self._pace += (now - self._left - self._pace) * SMOOTH
            if self.inside >= self._runs:
                self._left = now
            else:
                self._left, self._pace = 0.0, DOUBT * self._pace

    def step_out(self, who: str | None) -> None:
        """One of theirs is not here yet, after all."""
        with self._lock:
            self._out(who)

    def full(self, who: str | None) -> bool:
        """Whether one more of theirs finds no place.

        Where all are taken, there still is one for a fair part of them: a newcomer is not to wait until those
        have gone who came in such numbers. But never are there twice as many.
        """
        if self.inside < self._most:
            return False
        return self.inside >= 2 * self._most or self._of.get(who, 0) >= self._most / self._callers(who)

    def wait(self, who: str | None) -> float:
        """Seconds that one more of theirs would take, by how fast they have been answered of late.

        Callers take turns: before it come as many of each as there are of theirs.
        """
        return self._pace * min(self.inside, self._callers(who) * (self._of.get(who, 0) + 1))

    def _callers(self, who: str | None) -> int:
        return len(self._of) + (who not in self._of)

    def _out(self, who: str | None) -> None:
        self.inside -= 1
        left = self._of.pop(who) - 1
        if left:
            self._of[who] = left
