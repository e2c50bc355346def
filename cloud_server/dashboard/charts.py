"""A stretch of the past for the page: the series that it draws, and the figures beside them."""

from collections.abc import Sequence
from math import isfinite, nan

import msgspec

from cloud_server.fleet.figures import Figures
from cloud_server.fleet.window import Latency, Window
from protos.result import Reason

Series = list[float]
"""A value a slot; NaN, ``null`` in JSON, where nothing is known."""


class Bytes(msgspec.Struct, frozen=True, kw_only=True):
    """Inputs as they travel to the cloud, without framing."""

    sent: float
    """In the whole stretch."""
    cloud_only: float
    """What sending every input would have taken."""
    sent_rate: Series
    """Bytes a second."""
    cloud_only_rate: Series


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from capture to result."""

    p50: float
    p99: float
    over_time: Latency


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
    edge: Quantiles
    cloud: Quantiles
    hybrid: Quantiles
    cloud_only_seconds: float
    """Mean latency of a cloud that answers every input, by the newest estimate."""
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
        edge=_quantiles(window.totals.edge, window.edge),
        cloud=_quantiles(window.totals.cloud, window.cloud),
        hybrid=_quantiles(window.totals.hybrid, window.hybrid),
        cloud_only_seconds=_newest(levels["cloud_only_seconds"]),
        disagreement=_short(levels["disagreement"]),
        bytes=Bytes(
            sent=counts["sent_bytes"],
            cloud_only=counts["cloud_only_bytes"],
            sent_rate=_short(rates["sent_bytes"]),
            cloud_only_rate=_short(rates["cloud_only_bytes"]),
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


def _quantiles(totals: tuple[float, float], over_time: Latency) -> Quantiles:
    p50, p99 = totals
    return Quantiles(
        p50=p50, p99=p99, over_time=Latency(p50=_short(over_time.p50), p99=_short(over_time.p99))
    )


def _newest(values: Series) -> float:
    return next((value for value in reversed(values) if isfinite(value)), nan)


def _short(values: Series) -> Series:
    """Four digits are more than a pixel tells, and a third of the bytes."""
    return [float(f"{value:.4g}") for value in values]


_UNKNOWN = Quantiles(p50=nan, p99=nan, over_time=Latency(p50=[], p99=[]))
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
    edge=_UNKNOWN,
    cloud=_UNKNOWN,
    hybrid=_UNKNOWN,
    cloud_only_seconds=nan,
    disagreement=[],
    bytes=Bytes(sent=nan, cloud_only=nan, sent_rate=[], cloud_only_rate=[]),
    outbox=Outbox(results=nan, bytes=nan, age=nan, dropped=nan, over_time=[]),
)
