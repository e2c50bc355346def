"""Snapshots of this node's metrics, for a fleet whose Prometheus cannot reach it."""

import time
from collections.abc import Iterable, Iterator
from itertools import count, groupby, pairwise
from math import isfinite, isnan

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.samples import Sample

from protos import snapshot
from protos.snapshot import Amounts, Counter, Family, Gauge, Histogram, Reading, Readings, Snapshot, Spread

EXACT = 2**53
"""Whole numbers up to here are written without a point: two bytes less, each."""


class Snapshots:
    """Makes them of what ``/metrics`` shows. The whole of it: a choice would save little once compressed."""

    def __init__(self, registry: CollectorRegistry, session: int, interval: float) -> None:
        self.interval = interval
        """Seconds from one to the next."""
        self._registry, self._session = registry, session
        self._numbers, self._started = count(), time.monotonic()

    def make(self) -> bytes:
        """The next one, as it is published."""
        return snapshot.encode(
            Snapshot(
                session=self._session,
                sequence=next(self._numbers),
                uptime=round(time.monotonic() - self._started, 3),
                interval=self.interval,
                families=tuple(_families(self._registry.collect())),
            )
        )


def _families(metrics: Iterable[Metric]) -> Iterator[Family]:
    for metric in metrics:
        samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
        if samples:
            yield _family(metric.type, samples)


def _family(kind: str, samples: list[Sample]) -> Family:
    name, labels = samples[0].name, tuple(samples[0].labels)
    if kind == "histogram":
        return _histogram(samples)
    if kind == "counter":
        return Counter(name, labels, tuple(Amounts(_texts(it), _short(it.value)) for it in samples))
    return Gauge(name, labels, tuple(Readings(_texts(it), _reading(it.value)) for it in samples))


def _histogram(samples: list[Sample]) -> Histogram:
    """Of lines that are grouped by series, buckets first and rising."""
    name = samples[0].name.removesuffix("_bucket")
    spreads = {key: list(group) for key, group in groupby(samples, _texts)}
    first = next(iter(spreads.values()))
    bounds = tuple(float(it.labels["le"]) for it in first if "le" in it.labels)
    labels = tuple(label for label in first[0].labels if label != "le")
    return Histogram(name, labels, tuple(_spread(*spread) for spread in spreads.items()), bounds[:-1])


def _spread(key: tuple[str, ...], samples: list[Sample]) -> Spread:
    added_up = [0.0, *(it.value for it in samples if "le" in it.labels)]
    total = next(it.value for it in samples if it.name.endswith("_sum"))
    return Spread(key, tuple(int(above - below) for below, above in pairwise(added_up)), _short(total))


def _texts(sample: Sample) -> tuple[str, ...]:
    return tuple(value for label, value in sample.labels.items() if label != "le")


def _reading(value: float) -> Reading:
    if isnan(value):
        return "NaN"
    if isfinite(value):
        return _short(value)
    return "+Inf" if value > 0 else "-Inf"


def _short(value: float) -> float:
    return int(value) if abs(value) < EXACT and value == int(value) else value
