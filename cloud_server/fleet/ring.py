"""The recent past in slots of equal length: counts that are spread over time, levels that hold."""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
"""(slots, columns)."""

_SHORTEST = 1e-3
"""Seconds that something takes at least, to be spread over."""


class Ring:
    """So many slots, the oldest overwritten. Times are seconds by one monotonic clock."""

    def __init__(self, step: float, slots: int, counts: int, levels: int) -> None:
        self.step = step
        self._slots, self._newest = slots, -1
        self._counts = np.zeros((slots, counts), np.float32)  # untouched memory costs nothing
        self._levels = np.full((slots, levels), np.nan, np.float32)

    def add(self, since: float, until: float, counts: NDArray[np.float64]) -> None:
        """Spread these evenly over a time that ends now; what lies before the oldest slot is left out."""
        since = min(since, until - _SHORTEST)
        last = self._open(until)
        first = max(int(since // self.step), last - self._slots + 1)
        edges = np.arange(first, last + 2) * self.step
        inside = np.minimum(edges[1:], until) - np.maximum(edges[:-1], since)
        share = np.maximum(inside, 0.0) / (until - since)
        self._counts[np.arange(first, last + 1) % self._slots] += share[:, None] * counts

    def hold(self, since: float, until: float, levels: NDArray[np.float64]) -> None:
        """These hold now, and did since then."""
        last = self._open(until)
        first = min(last, max(int(since // self.step) + 1, last - self._slots + 1))
        self._levels[np.arange(first, last + 1) % self._slots] = levels

    def counts(self, first: int, last: int) -> Rows:
        """Of the slots ``first`` to ``last``, both included: zero where nothing is."""
        return self._read(self._counts, first, last, 0.0)

    def levels(self, first: int, last: int) -> Rows:
        """The same; NaN where nothing is."""
        return self._read(self._levels, first, last, np.nan)

    def _read(self, rows: Rows, first: int, last: int, nothing: float) -> Rows:
        """A copy."""
        found = rows[np.arange(first, last + 1) % self._slots]
        found[: max(0, self._newest - self._slots + 1 - first)] = nothing
        found[max(0, self._newest + 1 - first) :] = nothing
        return found

    def _open(self, moment: float) -> int:
        """The slot of a moment, emptied of what it held a round ago, as are those that were skipped."""
        slot = int(moment // self.step)
        passed = np.arange(max(self._newest + 1, slot - self._slots + 1), slot + 1) % self._slots
        self._counts[passed], self._levels[passed] = 0.0, np.nan
        self._newest = max(self._newest, slot)
        return slot
