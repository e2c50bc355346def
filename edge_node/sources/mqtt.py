"""Samples from sensors that publish to the broker."""

import logging
import re
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, Full, Queue
from threading import Event
from types import TracebackType
from typing import Any, Self

import paho.mqtt.client as paho

from edge_node import config, mqtt
from edge_node.errors import NodeError
from edge_node.metrics import Meter
from edge_node.sample import Sample
from edge_node.sources.parse import json_array

_TICK = 0.2
"""Seconds between looks at ``stop``."""
_BACK_OFF = (1, 30)
"""Seconds between attempts to reach the broker."""

log = logging.getLogger(__name__)


class MqttSource:
    """Message after message; a sample is named by its topic."""

    live = True

    def __init__(
        self, settings: config.MqttSource, node: config.Node, broker: config.Mqtt, meter: Meter
    ) -> None:
        _require_useful(settings.topic, f"{broker.root}/{node.site}/{node.name}/result")
        self._settings, self._broker, self._meter = settings, broker, meter
        self._waiting: Queue[Sample] = Queue(settings.queue)
        self._client = mqtt.client(broker, f"{node.site}-{node.name}-source")
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(*_BACK_OFF)

    def __enter__(self) -> Self:
        self._client.connect_async(self._broker.host, self._broker.port, mqtt.KEEP_ALIVE)
        self._client.loop_start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def samples(self, stop: Event) -> Iterator[Sample]:
        """Messages as they arrive, until ``stop``."""
        while not stop.is_set():
            with suppress(Empty):
                yield self._waiting.get(timeout=_TICK)

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            log.error("the broker refuses the sensor subscription's connection: %s", reason)
        else:
            client.subscribe(self._settings.topic, qos=1)

    def _on_subscribe(
        self, _client: Any, _data: Any, _mid: int, reasons: list[Any], _properties: Any
    ) -> None:
        for reason in reasons:
            if reason.is_failure:
                log.error("the broker refuses topic %s: %s", self._settings.topic, reason)

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        payload = bytes(message.payload)
        data = payload if self._settings.encoding == "raw" else json_array(payload)
        sample = Sample(message.topic, data)
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
