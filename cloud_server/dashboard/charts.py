"""A stretch of the past for the page: the series that it draws, and the figures beside them."""

from collections.abc import Sequence
from math import isfinite, nan

import msgspec

from cloud_server.fleet.figures import Figures
from cloud_server.fleet.window import Latency, Window
from protos.result import Reason

_NEVER = 1e6
"""Seconds that nobody waits."""

Series = list[float]
"""A value a slot; NaN, ``null`` in JSON, where nothing is known."""


class Bytes(msgspec.Struct, frozen=True, kw_only=True):
    """Between devices and cloud, both ways, as the sockets of gRPC carry it: framing and TLS included."""

    actual: float
    """In the whole stretch."""
    cloud_only: float
    """What asking the cloud about every input would have taken."""
    actual_rate: Series
    """Bytes a second."""
    cloud_only_rate: Series


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from capture to result, in the whole stretch."""

    p50: float
    p99: float


class Outbox(msgspec.Struct, frozen=True, kw_only=True):
    """Results on their way: how many wait now, and did."""

    results: float
    bytes: float
    age: float
    """Seconds that the oldest one has waited."""
    dropped: float
    """In the whole stretch."""
    over_time: Series


class Charts(msgspec.Struct, frozen=True, kw_only=True):
    """All lists are of the length of ``at``."""

    at: Series
    """End of each slot, in seconds since 1970."""
    step: float
    seconds: float
    """Length of the whole stretch."""
    samples: float
    """In the whole stretch, as all that follows unless said."""
    reasons: dict[str, float]
    """Results by reason; what did not occur is left out."""
    offload: float
    """Share of the results that the cloud answered."""
    offload_over_time: Series
    edge_rate: Series
    """Results a second that the edge answered."""
    cloud_rate: Series
    edge_over_time: Latency
    """Of the answers that the edge gave."""
    cloud_over_time: Latency
    hybrid: Quantiles
    """Of all answers."""
    edge_only: Quantiles
    """Of a device that asks no cloud: what the edge took for every input, whoever answered."""
    cloud_only: Quantiles
    """Of a cloud that answers every input, by the newest estimate from audits."""
    disagreement: Series
    """Share of the kept answers that the cloud would have given otherwise, by audit."""
    bytes: Bytes
    outbox: Outbox


def charts(window: Window | None, figures: Sequence[Figures]) -> Charts:
    """Of a stretch (None: there is none), and of the devices that speak now."""
    if window is None:
        return _NOTHING
    counts, rates, levels = window.totals.counts, window.rates, window.levels
    return Charts(
        at=window.at,
        step=window.step,
        seconds=window.totals.seconds,
        samples=counts["samples"],
        reasons={reason: count for reason in Reason if (count := counts[f"{reason}_results"]) > 0},
        offload=window.totals.offload,
        offload_over_time=_short(window.offload),
        edge_rate=_short(rates["edge"]),
        cloud_rate=_short(rates["cloud"]),
        edge_over_time=_latency(window.edge),
        cloud_over_time=_latency(window.cloud),
        hybrid=_quantiles(window.totals.hybrid),
        edge_only=_quantiles(window.totals.edge_only),
        cloud_only=_quantiles((_newest(levels["cloud_only_p50"]), _newest(levels["cloud_only_p99"]))),
        disagreement=_short(levels["disagreement"]),
        bytes=Bytes(
            actual=counts["grpc_bytes"],
            cloud_only=counts["cloud_only_grpc_bytes"],
            actual_rate=_short(rates["grpc_bytes"]),
            cloud_only_rate=_short(rates["cloud_only_grpc_bytes"]),
        ),
        outbox=_outbox(window, figures),
    )


def _outbox(window: Window, figures: Sequence[Figures]) -> Outbox:
    return Outbox(
        results=_total([each.queued_results for each in figures]),
        bytes=_total([each.queued_bytes for each in figures]),
        age=max((each.queued_age for each in figures if isfinite(each.queued_age)), default=nan),
        dropped=window.totals.counts["dropped_results"],
        over_time=_short(window.levels["queued_results"]),
    )


def _total(values: Sequence[float]) -> float:
    found = [value for value in values if isfinite(value)]
    return sum(found) if found else nan


def _quantiles(seconds: tuple[float, float]) -> Quantiles:
    return Quantiles(p50=seconds[0], p99=seconds[1])


def _latency(over_time: Latency) -> Latency:
    return Latency(p50=_short(over_time.p50), p99=_short(over_time.p99))


def _newest(values: Series) -> float:
    """The last that is known; a cloud that would never answer is none."""
    return next((value for value in reversed(values) if value < _NEVER), nan)


def _short(values: Series) -> Series:
    """Four digits are more than a pixel tells, and a third of the bytes."""
    return [float(f"{value:.4g}") for value in values]


_UNKNOWN = Quantiles(p50=nan, p99=nan)
_NO_LATENCY = Latency(p50=[], p99=[])
_NOTHING = Charts(
    at=[],
    step=nan,
    seconds=0,
    samples=0,
    reasons={},
    offload=nan,
    offload_over_time=[],
    edge_rate=[],
    cloud_rate=[],
    edge_over_time=_NO_LATENCY,
    cloud_over_time=_NO_LATENCY,
    hybrid=_UNKNOWN,
    edge_only=_UNKNOWN,
    cloud_only=_UNKNOWN,
    disagreement=[],
    bytes=Bytes(actual=nan, cloud_only=nan, actual_rate=[], cloud_only_rate=[]),
    outbox=Outbox(results=nan, bytes=nan, age=nan, dropped=nan, over_time=[]),
)
