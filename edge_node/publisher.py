"""Results on their way out: to the broker, or to standard output where there is none."""

import logging
import sys
from collections import deque
from collections.abc import Hashable
from contextlib import suppress
from threading import Event
from typing import Protocol

from edge_node.connection import Connection
from edge_node.metrics import Meter
from protos import result as contract
from protos.result import Result

WINDOW = 20
"""Messages handed to paho and not yet acknowledged: its own queue is no place for more."""

log = logging.getLogger(__name__)


class Publisher(Protocol):
    """Takes results."""

    def publish(self, result: Result, *, place: Hashable = None) -> None:
        """Accept a result and the place of its sample, from any thread, without waiting for anybody."""


class NoPublisher:
    """For who takes results from ``EdgeNode.infer`` and nowhere else."""

    def publish(self, result: Result, *, place: Hashable = None) -> None:
        """Forget it."""


class StdoutPublisher:
    """A JSON line a result on standard output."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop

    def publish(self, result: Result, *, place: Hashable = None) -> None:  # noqa: ARG002
        """Write and flush, since the reader may be a pipe; a closed pipe stops the node."""
        try:
            sys.stdout.buffer.write(contract.encode(result) + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            self._stop.set()


class MqttPublisher:
    """A bounded queue in memory that the connection empties, a small window at a time."""

    def __init__(self, connection: Connection, max_queued: int, meter: Meter) -> None:
        self._connection, self._max_queued, self._meter = connection, max_queued, meter
        self._topic = connection.topic("result")
        self._waiting: deque[Result] = deque()
        self._unacknowledged: set[int] = set()
        connection.carry(self)
        meter.queued.set_function(self.outstanding)

    def publish(self, result: Result, *, place: Hashable = None) -> None:  # noqa: ARG002
        """Queue a result; if the queue is full the oldest goes, and is counted."""
        if len(self._waiting) >= self._max_queued:
            with suppress(IndexError):  # sent meanwhile
                self._waiting.popleft()
                self._meter.dropped["full"].inc()
        self._waiting.append(result)
        self._connection.wake()

    def ready(self) -> bool:
        """As ``Outgoing``: one waits, and the window has room."""
        return bool(self._waiting) and len(self._unacknowledged) < WINDOW

    def outstanding(self) -> int:
        """As ``Outgoing``."""
        return len(self._waiting) + len(self._unacknowledged)

    def next(self) -> tuple[str, bytes]:
        """As ``Outgoing``: the oldest."""
        return self._topic, contract.encode(self._waiting.popleft())

    def sent(self, mid: int) -> None:
        """As ``Outgoing``."""
        self._unacknowledged.add(mid)

    def acknowledged(self, mid: int, refusal: str | None) -> None:
        """As ``Outgoing``; a refused result is lost, and counted."""
        if mid not in self._unacknowledged:
            return  # a birth or a death
        self._unacknowledged.discard(mid)
        if refusal:
            self._meter.dropped["refused"].inc()

    def abandon(self) -> None:
        """As ``Outgoing``; what is left is counted."""
        if left := self.outstanding():
            log.warning("%d results were not acknowledged by the broker, and are lost", left)
            self._meter.dropped["stopped"].inc(left)
