"""How many samples in one run pay: learnt from the time that runs of each size take a sample.

On many a CPU a large batch is slower than its samples one by one, as they no longer fit the cache.
Sizes are tried by powers of two, from one: a size is used once it has shown that it costs less than those
below. It is learnt for a while now and then, and longer where it has paid: trials need requests that wait, so
that more of them have to be read, and each that waits costs a change of threads.
"""

from collections import deque

from msgspec import Struct

KNOWN = 16
"""Runs of a size until it is believed,"""
MEMORY = 31
"""of the last so many of which the lower quartile counts: neighbours make a run slower, and never faster."""
EVERY, WHILE = 2048, 128
"""After so many runs the neighbours of what is used are tried again, during so many."""
GAIN = 0.95
"""A larger size has to cost a sample less than this part of what smaller ones do: noise is no gain."""
HANDOFF = 1e-4
"""Seconds that sharing has to save a sample, for what it costs to wait in a thread of one's own."""


class Run(Struct, frozen=True, eq=False):
    """One run of the model, for one request or for several."""

    samples: int
    began: float
    """By ``time.perf_counter``."""
    seconds: float
    cost: float | None
    """Seconds of this thread's processor, which no neighbour adds to; ``None`` where nobody is curious."""


class Sizing:
    """Of one model. Not thread-safe: whoever has it has a lock."""

    def __init__(self, most: int) -> None:
        self._sizes = [1 << power for power in range(most.bit_length())]
        self._runs: list[deque[float]] = [deque(maxlen=MEMORY) for _ in self._sizes]
        self._times = [0.0] * len(self._sizes)
        self._since = [0] * len(self._sizes)
        """Runs of each size in this while."""
        self._best, self._count, self._until = 0, 0, WHILE
        self.seconds = 1e-3
        """What a sample takes, in runs as they are."""
        self.limit = self.room = 1
        """Samples in a run, as far as that has paid; samples that are worth being at hand as one begins."""
        self.curious = self.shares = most > 1
        """Whether runs are compared just now; whether one may be for several requests."""

    def next(self) -> int:
        """Samples in the next run, which may be a trial of another size."""
        for at in (self._best + 1, self._best - 1):
            if self._doubts(at):
                return self._sizes[at]
        return self.limit

    def ran(self, run: Run) -> None:
        """How long a run took."""
        self.seconds += (run.seconds / run.samples - self.seconds) / 8
        self._count += 1
        due = self._count % EVERY == 0
        if due:
            self._doubt()
        if due or run.cost is not None:
            self._compare(run)

    def _compare(self, run: Run) -> None:
        at = run.samples.bit_length() - 1
        if run.cost is not None and at < len(self._sizes):
            self._learn(at, run.cost / run.samples)
        self.curious = self._count < self._until and len(self._sizes) > 1
        self.limit = self._sizes[self._best]
        self.room = self._sizes[self._best + 1] if self._doubts(self._best + 1) else self.limit
        self.shares = self.curious or self.limit > 1

    def _learn(self, at: int, seconds: float) -> None:
        self._since[at] += 1
        self._runs[at].append(seconds)
        self._times[at] = sorted(self._runs[at])[len(self._runs[at]) // 4]
        before = self._best
        self._choose()
        if self._best > before:
            self._doubt()

    def _doubt(self) -> None:
        self._since, self._until = [0] * len(self._sizes), self._count + WHILE

    def _choose(self) -> None:
        self._best, least = 0, GAIN * self._times[0] - HANDOFF
        for at in range(1, len(self._sizes)):
            if not (self._known(at - 1) and self._known(at)):
                break
            if self._times[at] <= least:
                self._best, least = at, GAIN * self._times[at]

    def _known(self, at: int) -> bool:
        return len(self._runs[at]) >= KNOWN

    def _doubts(self, at: int) -> bool:
        """Whether a neighbour of the best is to be tried, once that is known itself."""
        due = self.curious and 0 <= at < len(self._sizes) and self._since[at] < KNOWN
        return due and self._known(self._best)
