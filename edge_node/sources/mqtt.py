"""Samples from sensors that publish to the broker."""

import re
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event

import paho.mqtt.client as paho

from edge_node import config
from edge_node.connection import Connection
from edge_node.errors import NodeError
from edge_node.metrics import Meter
from edge_node.sample import Sample
from edge_node.sources.parse import json_array

_TICK = 0.2
"""Seconds between looks at ``stop``."""


class MqttSource:
    """Message after message; a sample is named by its topic."""

    live = True

    def __init__(self, settings: config.MqttSource, connection: Connection, meter: Meter) -> None:
        _require_useful(settings.topic, connection.topic("result"))
        self._raw, self._meter = settings.encoding == "raw", meter
        self._waiting: Queue[Sample] = Queue(settings.queue)
        connection.subscribe(settings.topic, self._take)

    def samples(self, stop: Event) -> Iterator[Sample]:
        """Messages as they arrive, until ``stop``."""
        while not stop.is_set():
            with suppress(Empty):
                yield self._waiting.get(timeout=_TICK)

    def _take(self, topic: str, payload: bytes) -> None:
        sample = Sample(topic, payload if self._raw else json_array(payload))
        while True:
            try:
                return self._waiting.put_nowait(sample)
            except Full:
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        with suppress(Empty):
            self._waiting.get_nowait()
            self._meter.dropped_samples.inc()


def _require_useful(topic: str, own: str) -> None:
    """``NodeError`` if ``topic`` is no topic filter, or covers the topic of this node's ``own`` results."""
    *first, _ = levels = topic.split("/")
    if "#" in first or any(len(level) > 1 and {"+", "#"} & set(level) for level in levels):
        raise NodeError(
            f"[source] topic {topic!r}: + stands for one whole level, # for all levels at the end"
        )
    if paho.topic_matches_sub(re.sub(r"^\$share/[^/]+/", "", topic), own):
        raise NodeError(f"[source] topic {topic!r} would feed this node its own results ({own})")
