"""How many samples in one run pay: learnt from the time that runs of each size take a sample.

On many a CPU a large batch is slower than its samples one by one, as they no longer fit the cache.
Sizes are tried by powers of two, from one: a size is used once it has shown that it costs less than those
below, and the neighbours of what is used are tried again now and then.
"""

from collections import deque
from dataclasses import dataclass

KNOWN = 16
"""Runs of a size until it is believed,"""
MEMORY = 31
"""of the last so many of which the lower quartile counts: neighbours make a run slower, and never faster."""
EVERY = 32
"""One run in so many tries another size."""
GAIN = 0.95
"""A larger size has to cost a sample less than this part of what smaller ones do: noise is no gain."""
HANDOFF = 1e-4
"""Seconds that sharing has to save a sample, for what it costs to wait in a thread of one's own."""


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One run of the model, for one request or for several."""

    samples: int
    began: float
    """By ``time.perf_counter``."""
    seconds: float
    cost: float
    """Seconds of this thread's processor, which no neighbour adds to."""


class Sizing:
    """Of one model. Not thread-safe: whoever has it has a lock."""

    def __init__(self, most: int) -> None:
        self._sizes = [1 << power for power in range(most.bit_length())]
        self._runs: list[deque[float]] = [deque(maxlen=MEMORY) for _ in self._sizes]
        self._times = [0.0] * len(self._sizes)
        self._best, self._turn = 0, 0
        self.seconds = 1e-3
        """What a sample takes, in runs as they are."""

    @property
    def limit(self) -> int:
        """Samples in a run, as far as that has paid."""
        return self._sizes[self._best]

    def next(self) -> int:
        """Samples in the next run, which may be a trial of another size."""
        self._turn += 1
        up, unknown = self._best + 1, self._known(self._best) and not self._known(self._best + 1)
        if up < len(self._sizes) and (unknown or self._turn % (2 * EVERY) == 0):
            return self._sizes[up]
        if self._best and self._turn % (2 * EVERY) == EVERY:
            return self._sizes[self._best - 1]
        return self.limit

    def ran(self, run: Run) -> None:
        """How long a run took."""
        self.seconds += (run.seconds / run.samples - self.seconds) / 8
        at = run.samples.bit_length() - 1
        if at >= len(self._sizes):
            return
        self._runs[at].append(run.cost / run.samples)
        self._times[at] = sorted(self._runs[at])[len(self._runs[at]) // 4]
        self._choose()

    def _choose(self) -> None:
        self._best, least = 0, GAIN * self._times[0] - HANDOFF
        for at in range(1, len(self._sizes)):
            if not (self._known(at - 1) and self._known(at)):
                break
            if self._times[at] <= least:
                self._best, least = at, GAIN * self._times[at]

    def _known(self, at: int) -> bool:
        return at < len(self._sizes) and len(self._runs[at]) >= KNOWN
