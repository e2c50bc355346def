"""What of a snapshot the history keeps: one table. Names are those of the dashboard."""

from collections.abc import Callable, Mapping
from math import nan
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cloud_server.fleet.figures import Families, value
from protos.buckets import DURATION_BUCKETS
from protos.result import Reason
from protos.snapshot import Histogram, Snapshot

LATENCY = "tidegate_inference_duration_seconds"
EDGE_ONLY = "tidegate_edge_only_duration_seconds"
_LARGEST = 1e30
"""More than anything real, and less than single precision has."""


Combine = Callable[[NDArray[np.float64]], float]
"""Levels of devices, NaN where one does not say, into that of the fleet."""


def total(levels: NDArray[np.float64]) -> float:
    """NaN where no device says anything, as in the others."""
    said = levels[~np.isnan(levels)]
    return float(said.sum()) if said.size else nan


def mean(levels: NDArray[np.float64]) -> float:
    """Of the devices that say something."""
    said = levels[~np.isnan(levels)]
    return float(said.mean()) if said.size else nan


def highest(levels: NDArray[np.float64]) -> float:
    """Of all devices."""
    return float(np.fmax.reduce(levels))


class Count(NamedTuple):
    """Sum of the series of a counter that have these labels."""

    family: str
    labels: Mapping[str, str] = {}


class Level(NamedTuple):
    """The same of a gauge; and what the fleet's level is, of those of its devices."""

    combine: Combine
    family: str
    labels: Mapping[str, str] = {}


COUNTS: Mapping[str, Count] = {
    "samples": Count("tidegate_samples_total"),
    "edge": Count("tidegate_results_total", {"route": "edge"}),
    "cloud": Count("tidegate_results_total", {"route": "cloud"}),
    **{f"{reason}_results": Count("tidegate_results_total", {"reason": reason}) for reason in Reason},
    "sent_bytes": Count("tidegate_cloud_payload_bytes_total", {"direction": "sent"}),
    "received_bytes": Count("tidegate_cloud_payload_bytes_total", {"direction": "received"}),
    "cloud_only_bytes": Count("tidegate_cloud_only_payload_bytes_total"),
    "grpc_bytes": Count("tidegate_network_bytes_total", {"transport": "grpc"}),
    "mqtt_bytes": Count("tidegate_network_bytes_total", {"transport": "mqtt"}),
    "cloud_only_grpc_bytes": Count("tidegate_cloud_only_network_bytes_total"),
    "measured_joules": Count("tidegate_energy_joules_total", {"source": "measured"}),
    "estimated_joules": Count("tidegate_energy_joules_total", {"source": "estimated"}),
    "dropped_results": Count("tidegate_dropped_results_total"),
    "dropped_samples": Count("tidegate_dropped_samples_total"),
}
LEVELS: Mapping[str, Level] = {
    "queued_results": Level(total, "tidegate_queued_results"),
    "queued_bytes": Level(total, "tidegate_queued_result_bytes"),
    "queued_age": Level(highest, "tidegate_queued_result_age_seconds"),
    "deferrals_in_flight": Level(total, "tidegate_deferrals_in_flight"),
    "circuit": Level(highest, "tidegate_circuit_state"),
    "disagreement": Level(mean, "tidegate_disagreement_ratio", {"bound": "estimate"}),
    "risk": Level(highest, "tidegate_certificate_risk"),
    "cloud_only_seconds": Level(mean, "tidegate_cloud_only_latency_seconds"),
    "cloud_only_p50": Level(mean, "tidegate_cloud_only_latency_quantile_seconds", {"at": "p50"}),
    "cloud_only_p99": Level(mean, "tidegate_cloud_only_latency_quantile_seconds", {"at": "p99"}),
}

COVERED = 0
"""Column of the seconds that a device has told of."""
INDEX: Mapping[str, int] = {name: index for index, name in enumerate(COUNTS, 1)}
_BUCKETS = len(DURATION_BUCKETS) + 1
ROUTES: Mapping[str, slice] = {
    route: slice(1 + len(COUNTS) + at * _BUCKETS, 1 + len(COUNTS) + (at + 1) * _BUCKETS)
    for at, route in enumerate(("edge", "cloud", "edge_only"))
}
"""Columns of the latencies' buckets: by who answered, and of the edge for every sample."""
WIDTH = 1 + len(COUNTS) + len(ROUTES) * _BUCKETS


def read(snapshot: Snapshot) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(columns,) of counts since the session began, zero where it says none; and the levels, or NaN."""
    families = {family.name: family for family in snapshot.families}
    counts = np.zeros(WIDTH)
    counts[1 : 1 + len(COUNTS)] = [value(families, *count) for count in COUNTS.values()]
    for route in ("edge", "cloud"):
        counts[ROUTES[route]] = _buckets(families, LATENCY, {"route": route})
    counts[ROUTES["edge_only"]] = _buckets(families, EDGE_ONLY, {})
    levels = [value(families, level.family, level.labels) for level in LEVELS.values()]
    return np.nan_to_num(counts, nan=0.0), np.clip(np.array(levels), -_LARGEST, _LARGEST)


def _buckets(families: Families, name: str, labels: Mapping[str, str]) -> tuple[float, ...]:
    """Of the latencies with these labels; zero where the device has other bounds than ours."""
    family = families.get(name)
    if isinstance(family, Histogram) and (family.bounds, family.labels) == (DURATION_BUCKETS, (*labels,)):
        wanted = tuple(labels.values())
        return next((it.counts for it in family.series if it.labels == wanted), (0.0,) * _BUCKETS)
    return (0.0,) * _BUCKETS
