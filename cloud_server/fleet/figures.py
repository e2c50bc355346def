"""What the fleet reads out of a snapshot: figures of a device, now."""

from collections.abc import Mapping
from math import nan

import msgspec

from protos.snapshot import Family, Histogram

Families = Mapping[str, Family]
"""By name."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Of the last snapshot; NaN (``null`` in JSON) is what the device did not say or does not know.

    Counts are since the session began.
    """

    samples: float
    answered_by_edge: float
    answered_by_cloud: float
    queued_results: float
    queued_bytes: float
    queued_age: float
    """Seconds."""
    dropped_results: float
    dropped_samples: float
    deferrals_in_flight: float
    circuit: float
    """0 closed, 1 half-open, 2 open."""
    threshold: float
    epsilon: float
    delta: float
    certified_offload: float
    risk: float
    evidence: float
    """E-value against the certificate."""
    disagreement: float
    """Share of the kept samples on which the cloud would have said something else, estimated."""
    disagreement_low: float
    disagreement_high: float
    stream_disagreement: float
    """The same as a share of all samples."""
    resident_bytes: float
    clock_skew: float
    """Seconds that its clock is ahead of the cloud server's."""
    ground: str
    """Why the certificate stands (``valid``) or does not; empty if the device does not say."""


_VALUES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "samples": ("tidegate_samples_total", {}),
    "answered_by_edge": ("tidegate_results_total", {"route": "edge"}),
    "answered_by_cloud": ("tidegate_results_total", {"route": "cloud"}),
    "queued_results": ("tidegate_queued_results", {}),
    "queued_bytes": ("tidegate_queued_result_bytes", {}),
    "queued_age": ("tidegate_queued_result_age_seconds", {}),
    "dropped_results": ("tidegate_dropped_results_total", {}),
    "dropped_samples": ("tidegate_dropped_samples_total", {}),
    "deferrals_in_flight": ("tidegate_deferrals_in_flight", {}),
    "circuit": ("tidegate_circuit_state", {}),
    "threshold": ("tidegate_gate_threshold", {}),
    "epsilon": ("tidegate_certificate_epsilon", {}),
    "delta": ("tidegate_certificate_delta", {}),
    "certified_offload": ("tidegate_certificate_offload_ratio", {}),
    "risk": ("tidegate_certificate_risk", {}),
    "evidence": ("tidegate_audit_evidence", {}),
    "disagreement": ("tidegate_disagreement_ratio", {"bound": "estimate"}),
    "disagreement_low": ("tidegate_disagreement_ratio", {"bound": "low"}),
    "disagreement_high": ("tidegate_disagreement_ratio", {"bound": "high"}),
    "stream_disagreement": ("tidegate_stream_disagreement_ratio", {"bound": "estimate"}),
    "clock_skew": ("tidegate_clock_skew_seconds", {}),
    "resident_bytes": ("process_resident_memory_bytes", {}),
}


def read(families: Families) -> Figures:
    """The figures in a snapshot."""
    values = {name: value(families, family, labels) for name, (family, labels) in _VALUES.items()}
    return Figures(**values, ground=_ground(families))


def value(families: Families, name: str, labels: Mapping[str, str]) -> float:
    """Sum of the series that have these labels; NaN if there is none."""
    family = families.get(name)
    if family is None or isinstance(family, Histogram):
        return nan
    try:
        wanted = [(family.labels.index(label), text) for label, text in labels.items()]
    except ValueError:
        return nan
    found = [
        float(series.value)
        for series in family.series
        if all(series.labels[index] == text for index, text in wanted)
    ]
    return sum(found) if found else nan


def _ground(families: Families) -> str:
    family = families.get("tidegate_certificate_standing")
    if family is None or isinstance(family, Histogram) or family.labels != ("ground",):
        return ""
    return next((series.labels[0] for series in family.series if series.value == 1), "")
