"""Metrics off the path: what happens often is noted at once and counted later, many notes together.

To count one event in a dozen series takes longer than many a small network does to run.
"""

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import Generic, TypeVar

import prometheus_client
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.registry import Collector

MANY = 64
"""Notes that are counted together at the latest, by whoever makes the last of them."""

Note = TypeVar("Note")


class Tally(Generic[Note]):
    """Notes that wait to be counted. Any number of threads may make them."""

    def __init__(self, count: Callable[[Sequence[Note]], object]) -> None:
        """``count`` counts some, in the order in which they were made, and is called once at a time."""
        self._count, self._notes, self._lock = count, deque[Note](), Lock()

    def note(self, note: Note) -> None:
        """It is counted soon."""
        self._notes.append(note)
        if len(self._notes) >= MANY and self._lock.acquire(blocking=False):
            try:
                self._take()
            finally:
                self._lock.release()

    def count(self) -> None:
        """All that was noted is counted when this returns."""
        with self._lock:
            self._take()

    def _take(self) -> None:
        if notes := [self._notes.popleft() for _ in range(len(self._notes))]:
            self._count(notes)


class Histogram(prometheus_client.Histogram):
    """One that takes many at once."""

    def observe_all(self, amounts: Sequence[float]) -> None:
        """As ``observe`` of each."""
        self._sum.inc(sum(amounts))
        for bucket, count in Counter(bisect_left(self._upper_bounds, it) for it in amounts).items():
            self._buckets[bucket].inc(count)


class Refreshing(Collector):
    """First in its registry, it has no metrics of its own: it sees to it that the others are fresh."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.calls: list[Callable[[], None]] = []
        registry.register(self)

    def refresh(self) -> None:
        """Call all that there is to call."""
        for call in self.calls:
            call()

    def collect(self) -> Iterator[Metric]:
        """Nothing."""
        self.refresh()
        return iter(())
