"""A stretch of the past as the dashboard shows it: rates, shares and quantiles, from counts by slot."""

from collections.abc import Iterator
from math import nan

import msgspec
import numpy as np

from cloud_server.fleet import columns
from cloud_server.fleet.columns import COUNTS, LEVELS, ROUTES
from cloud_server.fleet.ring import Rows
from protos.buckets import DURATION_BUCKETS

_ROUNDING = 1e-5
"""Share that sums in single precision may be off by: no quantile shall fall over the edge of a bucket."""
_EDGES = np.array([0.0, *DURATION_BUCKETS], np.float32)


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from capture to result, interpolated in the buckets; NaN (``null``) without results."""

    p50: list[float]
    p99: list[float]


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time, slot by slot, the oldest first. All lists are of one length.

    What is not known is NaN, ``null`` in JSON.
    """

    step: float
    """Seconds of a slot."""
    at: list[float]
    """End of each slot, in seconds since 1970 by this server's clock."""
    edge: Latency
    """Of results that the edge answered."""
    cloud: Latency
    """Of those that the cloud answered."""
    hybrid: Latency
    """Of all."""
    edge_only: Latency
    """Of a node without a cloud: what the edge takes for every sample."""
    offload: list[float]
    """Share of the results that the cloud answered."""
    rates: dict[str, list[float]]
    """By the names of ``columns.COUNTS`` and of ``results`` by reason: so many a second."""
    levels: dict[str, list[float]]
    """By the names of ``columns.LEVELS``."""
    totals: "Totals"


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Of the whole window."""

    seconds: float
    """From its beginning to its end."""
    counts: dict[str, float]
    """By the names of ``columns.COUNTS``."""
    offload: float
    edge: tuple[float, float]
    """p50 and p99 in seconds."""
    cloud: tuple[float, float]
    hybrid: tuple[float, float]
    edge_only: tuple[float, float]


class Recent(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the table of devices: the last minutes."""

    samples: float
    """A second."""
    offload: float
    """Share of the results that the cloud answered."""
    p50: float
    """Seconds, of all results."""
    p99: float


def window(step: float, end: float, counts: Rows, levels: Rows, *, alone: bool) -> Window:
    """Of slots of which the last one ends there (seconds since 1970).

    ``alone``: rates are by the seconds that the device has told of, not by those of the slot.
    """
    seconds = counts[:, columns.COVERED] if alone else np.where(counts[:, columns.COVERED] > 0, step, 0)
    latency = {name: _latency(buckets) for name, buckets in _by_route(counts)}
    return Window(
        step=step,
        at=[end - step * left for left in reversed(range(len(counts)))],
        **latency,
        offload=_share(counts).tolist(),
        rates={name: _ratio(counts[:, index], seconds).tolist() for name, index in _named()},
        levels={name: levels[:, index].tolist() for index, name in enumerate(LEVELS)},
        totals=_totals(step * len(counts), counts.sum(0, keepdims=True)),
    )


def _totals(seconds: float, counts: Rows) -> Totals:
    quantiles = {
        name: (_quantile(it, 0.5).item(), _quantile(it, 0.99).item()) for name, it in _by_route(counts)
    }
    return Totals(
        seconds=seconds,
        counts={name: counts[0, index].item() for name, index in _named()},
        offload=_share(counts).item(),
        **quantiles,
    )


def recent(counts: Rows) -> list[Recent]:
    """Of counts of several devices, (devices, columns)."""
    if not len(counts):
        return []
    hybrid = dict(_by_route(counts))["hybrid"]
    samples = _ratio(counts[:, columns.INDEX["samples"]], counts[:, columns.COVERED])
    found = zip(samples, _share(counts), _quantile(hybrid, 0.5), _quantile(hybrid, 0.99), strict=True)
    return [
        Recent(samples=it[0].item(), offload=it[1].item(), p50=it[2].item(), p99=it[3].item()) for it in found
    ]


def _named() -> Iterator[tuple[str, int]]:
    return ((name, columns.INDEX[name]) for name in COUNTS)


def _by_route(counts: Rows) -> Iterator[tuple[str, Rows]]:
    """(name, (slots, buckets)) of the results of each route and of all."""
    edge, cloud = (counts[:, ROUTES[route]] for route in ("edge", "cloud"))
    yield from (("edge", edge), ("cloud", cloud), ("hybrid", edge + cloud))
    yield ("edge_only", counts[:, ROUTES["edge_only"]])


def _share(counts: Rows) -> Rows:
    edge, cloud = (counts[:, columns.INDEX[name]] for name in ("edge", "cloud"))
    return _ratio(cloud, edge + cloud)


def _ratio(part: Rows, whole: Rows) -> Rows:
    """NaN where there is nothing to divide by."""
    return np.divide(part, whole, out=np.full_like(part, nan), where=whole > 0)


def _latency(buckets: Rows) -> Latency:
    return Latency(p50=_quantile(buckets, 0.5).tolist(), p99=_quantile(buckets, 0.99).tolist())


def _quantile(buckets: Rows, share: float) -> Rows:
    """(slots, buckets) → (slots,) seconds, as ``histogram_quantile`` has it: linear within a bucket."""
    below = np.cumsum(buckets, axis=1)
    rank = share * (1 - _ROUNDING) * below[:, -1:]
    found = np.minimum((below < rank).sum(1), len(DURATION_BUCKETS) - 1)
    rows = np.arange(len(buckets))
    before = np.where(found > 0, below[rows, found - 1], 0)
    inside = np.clip(_ratio(rank[:, 0] - before, buckets[rows, found]), 0, 1)
    inside = np.where(np.isnan(inside), 1.0, inside)
    seconds = _EDGES[found] + inside * (_EDGES[found + 1] - _EDGES[found])
    return np.where(below[:, -1] > 0, seconds, nan).astype(np.float32)
