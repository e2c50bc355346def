"""What the network would have carried, had every sample gone to the cloud.

The payload of every sample is known, sent or not. What framing and answer add to it is measured on the
calls that were made, handshakes left out: a cloud-only node has no more of them.
"""

from collections.abc import Callable
from typing import NamedTuple

from edge_node.metrics import DIRECTIONS, Meter, amount
from protos.result import Reason


class Reading(NamedTuple):
    """Counts of a node so far."""

    samples: float
    """Those that the edge could read: the others would not have been sent either."""
    calls: float
    """Attempts begun;"""
    answers: float
    """and ended."""
    sent: float
    received: float
    """Bytes of gRPC's sockets."""
    payload: float
    """Bytes of the samples that were sent, once for each attempt."""
    all_payload: float
    """Bytes of every sample."""


class CloudOnly:
    """Keeps the two counters; before the first call, what is not sent counts with its payload alone."""

    def __init__(self, meter: Meter, read: Callable[[], Reading] | None = None) -> None:
        self._counters = [meter.cloud_only_network.labels(direction) for direction in DIRECTIONS]
        self._read = read or (lambda: reading(meter))
        self._last = self._read()
        self._calls = self._answers = self._framing = self._answered = 0.0
        self._counted = [0.0, 0.0]

    def look(self, *, settled: bool) -> None:
        """Bring the counters up to date. ``settled``: no connection came or went since the last look."""
        now, last = self._read(), self._last
        self._last = now
        if settled:
            self._calls += now.calls - last.calls
            self._answers += now.answers - last.answers
            self._framing += now.sent - last.sent - (now.payload - last.payload)
            self._answered += now.received - last.received
        unsent = now.samples - now.calls
        framing, answer = self._framing / max(1.0, self._calls), self._answered / max(1.0, self._answers)
        self._count(0, now.sent + now.all_payload - now.payload + unsent * max(0.0, framing))
        self._count(1, now.received + unsent * answer)

    def _count(self, which: int, total: float) -> None:
        """Up to this; an estimate that falls waits until it has risen again."""
        self._counters[which].inc(max(0.0, total - self._counted[which]))
        self._counted[which] = max(total, self._counted[which])


def reading(meter: Meter) -> Reading:
    """As a node's own metrics say."""
    ended = amount(meter.stage["cloud"])
    return Reading(
        samples=amount(meter.samples) - amount(meter.results_by["edge", Reason.INVALID_SAMPLE]),
        calls=ended + amount(meter.in_flight) + amount(meter.cloud_retries),
        answers=ended,
        sent=amount(meter.network.labels("grpc", "sent")),
        received=amount(meter.network.labels("grpc", "received")),
        payload=amount(meter.sent),
        all_payload=amount(meter.cloud_only_payload),
    )
