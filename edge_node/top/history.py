"""The last minutes of a node, from reading to reading. A restart begins them anew: no rate is negative."""

from collections import deque
from dataclasses import dataclass
from math import inf, isnan, nan

from edge_node.top.reading import SAMPLES, Reading

MINUTE = 60.0
"""Seconds over which rates and quantiles are taken."""
ENOUGH = 5.0
"""Seconds to have watched before that replaces what the node counted since its start."""
KEPT = 200
"""Steps that a curve can show."""
NEWS = 60.0
"""Seconds for which a restart is told."""
DURATION = "tidegate_inference_duration_seconds"


@dataclass(frozen=True)
class Span:
    """What happened between two readings; before the first is the node's start, where all is zero."""

    old: Reading | None
    new: Reading

    @property
    def seconds(self) -> float:
        """How long it is; NaN where the node does not say when it was started."""
        return self.new.at - self.old.at if self.old else uptime(self.new)

    def grown(self, name: str, **labels: str) -> float:
        """By how much a sum has grown; NaN if there is no such series."""
        before = self.old.value(name, **labels) if self.old else 0.0
        return self.new.value(name, **labels) - (0.0 if isnan(before) else before)

    def rate(self, name: str, **labels: str) -> float:
        """That, a second."""
        return self.grown(name, **labels) / self.seconds if self.seconds > 0 else nan

    def grown_by(self, label: str, name: str, **labels: str) -> dict[str, float]:
        """That, for each value of a label."""
        return {it: self.grown(name, **labels, **{label: it}) for it in self.new.by(label, name, **labels)}

    def quantile(self, share: float, name: str, **labels: str) -> float:
        """Of a histogram, interpolated in its bucket; infinite beyond the last one, NaN without any."""
        grown = self.grown_by("le", f"{name}_bucket", **labels)
        return quantile(share, sorted((float(bound), count) for bound, count in grown.items()))


@dataclass(frozen=True)
class Point:
    """One step of every curve."""

    samples: float
    """A second."""
    edge: float
    """Median latency of its answers, seconds."""
    cloud: float
    queued: float
    """Results that wait."""


class History:
    """Readings of one node."""

    def __init__(self) -> None:
        self.curves: deque[Point] = deque(maxlen=KEPT)
        self._readings: deque[Reading] = deque()
        self._restarted = -inf

    @property
    def last(self) -> Reading | None:
        return self._readings[-1] if self._readings else None

    def add(self, reading: Reading) -> None:
        """The next one."""
        if self.last and _is_another_run(self.last, reading):
            self._readings.clear()
            self._restarted = reading.at
        if self.last:
            self.curves.append(_point(Span(self.last, reading)))
        self._readings.append(reading)
        while reading.at - self._readings[0].at > MINUTE:
            self._readings.popleft()

    def recent(self) -> Span:
        """The last minute, or as much of it as was seen; since the node's start at first."""
        old, new = self._readings[0], self._readings[-1]
        return Span(old if new.at - old.at >= ENOUGH else None, new)

    def restarted(self, now: float) -> bool:
        """Whether it was, while we looked and not long ago."""
        return now - self._restarted < NEWS


def uptime(reading: Reading) -> float:
    """Seconds since the process was started; NaN if it does not say."""
    return max(reading.clock - reading.value("process_start_time_seconds"), 0.0)  # NaN stays, if it is first


def quantile(share: float, cumulative: list[tuple[float, float]]) -> float:
    """Of (upper bound, observations up to it), as ``histogram_quantile`` has it."""
    if not cumulative or not (rank := share * cumulative[-1][1]):
        return nan
    lower = below = 0.0
    for bound, count in cumulative:
        if count >= rank:
            return lower + (bound - lower) * (rank - below) / (count - below) if bound < inf else inf
        lower, below = bound, count
    return nan


def _point(span: Span) -> Point:
    return Point(
        samples=span.rate(SAMPLES),
        edge=span.quantile(0.5, DURATION, route="edge"),
        cloud=span.quantile(0.5, DURATION, route="cloud"),
        queued=span.new.value("tidegate_queued_results"),
    )


def _is_another_run(before: Reading, now: Reading) -> bool:
    started = "process_start_time_seconds"
    if before.value(started) != now.value(started) and not isnan(now.value(started)):
        return True
    counts = dict(now.cumulative())
    return any(counts.get(series, inf) < count for series, count in before.cumulative())
