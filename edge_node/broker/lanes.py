"""What the publisher reads the outbox with: lanes of rows, a pace, and a wait that grows."""

import math
import time
from collections import deque

from edge_node.outbox import Outbox, Row

BATCH = 100
"""Rows read at once."""
BURST = 1.0
"""Seconds of a pace that may be caught up on at once."""
STEP = 0.005
"""Seconds that are worth waiting: what may go by then goes at once."""


class Lane:
    """Rows in the order of their numbers, each once; none that is confirmed or dropped meanwhile."""

    def __init__(self, outbox: Outbox, after: int, before: int | None = None) -> None:
        """Rows above ``after``, those yet to come included, or only those below ``before``."""
        self._outbox, self._read, self._before = outbox, after, before
        self._end = math.inf if before is None else before - 1
        self._rows: deque[Row] = deque()
        self._taken: int | None = None

    def peek(self) -> Row | None:
        """The next row, if there is one by now."""
        floor = self._outbox.floor()
        while self._rows and self._rows[0].seq < floor:
            self._rows.popleft()
        end = min(self._outbox.committed(), self._end)
        if not self._rows and self._read < end:
            self._rows.extend(self._outbox.rows(self._read, BATCH, self._before))
            self._read = self._rows[-1].seq if self._rows else int(end)
        return self._rows[0] if self._rows else None

    def take(self) -> bool:
        """Pass the row that ``peek`` showed; whether its number directly follows the one before."""
        before, self._taken = self._taken, self._rows.popleft().seq
        return before is not None and self._taken == before + 1


class Pace:
    """So many a second, evenly."""

    def __init__(self, rate: float) -> None:
        self._rate, self._credit, self._at = rate, 0.0, time.monotonic()

    def left(self) -> float:
        """Seconds until the next may go."""
        now = time.monotonic()
        earned = self._credit + (now - self._at) * self._rate
        self._credit, self._at = min(earned, max(1.0, self._rate * BURST)), now
        return 0.0 if self._credit >= 1 else max(STEP, (1 - self._credit) / self._rate)

    def take(self) -> None:
        """One goes."""
        self._credit -= 1


class Wait:
    """Seconds to wait for something: doubled each time it was in vain, up to a limit."""

    def __init__(self, first: float, most: float) -> None:
        self._first, self._most = first, most
        self.stop()

    def stop(self) -> None:
        """Nothing is waited for."""
        self._seconds, self._due = self._first, math.inf
        self.times = 0
        """How often it was in vain."""

    def start(self) -> None:
        """Wait from now on, for the first time."""
        self.stop()
        self._due = time.monotonic() + self._first

    def again(self) -> None:
        """It was in vain: wait twice as long."""
        self.times += 1
        self._seconds = min(2 * self._seconds, self._most)
        self._due = time.monotonic() + self._seconds

    def runs(self) -> bool:
        """Whether anything is waited for."""
        return self._due < math.inf

    def left(self) -> float:
        """Seconds that are left of it; infinite if nothing is waited for."""
        return max(0.0, self._due - time.monotonic())
