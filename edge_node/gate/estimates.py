"""What a random sample of the stream says of all of it: disagreement, latency and bytes of a cloud alone.

Estimates weigh what was seen by how likely it was to be seen (Horvitz and Thompson, 1952). What was
to be seen and was not, is bounded by the worst that it could have been.
"""

import math
from collections import OrderedDict, deque
from functools import lru_cache
from threading import Lock

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_node.gate import binomial
from edge_node.gate.certificate import Promise
from protos.result import Reason

WINDOW = 4096
"""Calls that latency and byte estimates look back on."""
REMEMBERED = 20_000
"""Samples whose labels may still come."""
ENOUGH = 20
"""Effective samples beyond a quantile that it takes to publish it."""
DELTA = 0.05
"""A two-sided interval misses so often."""
RECENT = 1000
"""Inputs that the share of unserved deferrals looks back on."""

Floats = NDArray[np.float64]

_upper = lru_cache(maxsize=4096)(binomial.upper)


class Disagreement(msgspec.Struct, frozen=True, kw_only=True):
    """How often edge and cloud differ; an interval is exact at 95 %, a worst case counts the missing."""

    audited: int
    missing: int
    kept: float
    """Share of the kept inputs; with its interval."""
    kept_low: float
    kept_high: float
    kept_worst: float
    """As ``kept_high``, had every missing audit disagreed."""
    stream: float
    """Share of all inputs that were kept and differ: it bounds the difference in accuracy, either way."""
    stream_error: float
    """Standard error of ``stream``."""
    stream_worst: float
    """Upper 97.5 % bound, had every missing audit disagreed."""


class Tally:
    """Counts of audits; memory does not grow."""

    def __init__(self) -> None:
        self.inputs = self.kept = self.audited = self.disagreed = self.missing = 0
        self._weighed = self._variance = 0.0

    def heard(self, weight: float, *, disagrees: bool) -> None:
        """One audit came back; ``weight`` is 1 / the probability that it was made."""
        self.audited += 1
        if disagrees:
            self.disagreed += 1
            self._weighed += weight
            self._variance += weight * (weight - 1)

    @property
    def stream(self) -> float:
        """Horvitz-Thompson estimate of the share of inputs that were kept and differ."""
        return self._weighed / self.inputs if self.inputs else 0.0

    def estimate(self) -> Disagreement:
        """All that can be said now."""
        seen, asked = self.audited, self.audited + self.missing
        worst = binomial.upper(self.disagreed + self.missing, asked, DELTA / 2)
        return Disagreement(
            audited=seen,
            missing=self.missing,
            kept=self.disagreed / seen if seen else 0.0,
            kept_low=binomial.lower(self.disagreed, seen, DELTA / 2),
            kept_high=binomial.upper(self.disagreed, seen, DELTA / 2),
            kept_worst=worst,
            stream=self.stream,
            stream_error=math.sqrt(self._variance) / self.inputs if self.inputs else 0.0,
            stream_worst=worst * self.kept / self.inputs if self.inputs else 1.0,
        )


class Weighted:
    """The last values of a weighted sample; infinite ones are known only to be large. Thread-safe."""

    def __init__(self, size: int = WINDOW) -> None:
        self._seen: deque[tuple[float, float]] = deque(maxlen=size)
        self._lock = Lock()

    def add(self, value: float, weight: float = 1.0) -> None:
        """One value that stands for ``weight`` of the stream."""
        with self._lock:
            self._seen.append((value, weight))

    @property
    def effective(self) -> float:
        """Kish's effective sample size: how many equally weighted values would say as much."""
        _, weights = self._columns()
        return _kish(weights)

    def mean(self) -> float | None:
        """Hajek's estimate of the mean of the finite values; ``None`` before the first."""
        values, weights = self._columns()
        finite = np.isfinite(values)
        return float(np.average(values[finite], weights=weights[finite])) if finite.any() else None

    def quantile(self, q: float) -> float | None:
        """The stream's quantile; ``None`` where too few effective samples lie beyond it to say."""
        values, weights = self._columns()
        if _kish(weights) * (1 - q) < ENOUGH:
            return None
        order = values.argsort()
        upto = weights[order].cumsum()
        return float(values[order][np.searchsorted(upto, q * upto[-1])])

    def _columns(self) -> tuple[Floats, Floats]:
        with self._lock:
            pairs = tuple(self._seen)
        values, weights = np.array(pairs).reshape(-1, 2).T
        return values, weights


def _kish(weights: Floats) -> float:
    return float(weights.sum() ** 2 / (weights**2).sum()) if weights.size else 0.0


class Remembered(msgspec.Struct, frozen=True):
    """What both models said of a sample whose label may still come."""

    edge: int
    cloud: int
    kept: bool
    """The edge's answer was published."""
    selected: float | None
    """Probability with which it was to be watched; ``None`` if the lot did not fall on it."""
    score: float
    at: float = 0.0
    """When the cloud answered, in seconds."""

    def gain(self, truth: int) -> int:
        """1 if only the cloud was right, -1 if only the edge was, else 0."""
        return (self.cloud == truth) - (self.edge == truth)

    def loss(self, promise: Promise, truth: int, threshold: float) -> float | None:
        """What a promise bounds the mean of; ``None`` if it says nothing of this sample."""
        kept = self.score >= threshold
        if promise == "selective":
            return float(self.edge != truth) if kept else None
        if promise == "disagreement":
            return float(kept and self.edge != self.cloud)
        gain = self.gain(truth) * kept
        return gain if promise == "drop" else max(gain, 0)


class Memory:
    """Samples by id until their labels come, or until too many others have."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self._samples: OrderedDict[str, Remembered] = OrderedDict()
        self.labelled, self._weights, self._drops = 0, 0.0, 0.0

    def __len__(self) -> int:
        return len(self._samples)

    def remember(self, request_id: str, sample: Remembered) -> None:
        """Keep a sample that both models have answered."""
        self._samples[request_id] = sample
        if len(self._samples) > self._size:
            self._samples.popitem(last=False)

    def label(self, request_id: str, truth: int) -> Remembered | None:
        """The sample that a label is for, once; ``None`` if it is unknown, forgotten or labelled already."""
        sample = self._samples.pop(request_id, None)
        if sample and sample.selected:
            self.labelled += 1
            self._weights += 1 / sample.selected
            self._drops += sample.gain(truth) * sample.kept / sample.selected
        return sample

    @property
    def drop(self) -> float | None:
        """Labelled estimate of what the stream's accuracy is below the cloud's: of watched samples alone."""
        return self._drops / self._weights if self.labelled else None


class Unserved:
    """Upper 95 % bound of the share of recent inputs whose deferral got no answer."""

    def __init__(self, size: int = RECENT) -> None:
        self._recent: deque[Reason | None] = deque(maxlen=size)
        self._count = self._budget = 0

    def add(self, failure: Reason | None) -> None:
        """Count one input, and why it went unserved, if it did."""
        if len(self._recent) == self._recent.maxlen:
            self._tally(self._recent[0], -1)
        self._recent.append(failure)
        self._tally(failure, 1)

    @property
    def share(self) -> float:
        """The bound; 0 as long as nobody has gone unserved: a node that starts owes nothing yet."""
        return _upper(self._count, len(self._recent), DELTA) if self._count else 0.0

    @property
    def by_budget(self) -> bool:
        """Whether most of them had no room in the budget."""
        return 2 * self._budget > self._count

    def _tally(self, failure: Reason | None, step: int) -> None:
        self._count += step * (failure is not None)
        self._budget += step * (failure is Reason.BUDGET_EXHAUSTED)
