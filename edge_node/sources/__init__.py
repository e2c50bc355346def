"""Where samples come from. A source yields until it ends, or soon after ``stop`` is set.

What cannot be read still becomes a sample, one that carries its error: no count is lost.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from threading import Event
from typing import Protocol

from edge_node import config
from edge_node.bookmark import Replayable
from edge_node.broker.connection import Connection
from edge_node.errors import NodeError
from edge_node.metrics import Meter
from edge_node.outbox import Outbox
from edge_node.sample import Sample


class Source(Protocol):
    """Where samples come from."""

    live: bool
    """Samples come at their own pace: there is no time to wait for a slot in the cloud's queue."""

    def samples(self, stop: Event) -> Iterator[Sample]: ...


def open_source(settings: config.Source | None, connection: Connection | None, meter: Meter) -> Source | None:
    """The source that the settings name, if any; ``SourceError`` if it is not there."""
    match settings:
        case config.ArraySource():
            from edge_node.sources.array import ArraySource

            return ArraySource(settings)
        case config.DirectorySource():
            from edge_node.sources.directory import DirectorySource

            return DirectorySource(settings)
        case config.StdinSource():
            from edge_node.sources.stdin import StdinSource

            return StdinSource()
        case config.MqttSource():
            from edge_node.sources.mqtt import MqttSource

            if connection is None:
                raise NodeError('[source] kind = "mqtt" needs a section [mqtt] that says which broker')
            return MqttSource(settings, connection, meter)
        case None:
            return None


def resume(source: Source | None, outbox: Outbox) -> None:
    """A source that can be replayed goes on where its results were last committed; said before its start."""
    if isinstance(source, Replayable):
        outbox.follow(source.key(), source.resume(outbox.bookmark(source.key())))


def paced(make: Iterable[Callable[[], Sample]], rate: float, stop: Event) -> Iterator[Sample]:
    """One sample every 1/``rate`` seconds, made at its moment; 0: no waiting.

    The schedule is kept against the clock, so a slow sample delays none but those due meanwhile.
    """
    due = time.monotonic()
    for sample in make:
        if stop.is_set():
            return
        if rate:
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            due = max(due + 1 / rate, time.monotonic() - 1 / rate)
        yield sample()
