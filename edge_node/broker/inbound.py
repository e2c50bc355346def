"""What comes in over the node's connection: samples that the broker keeps for us, and words to us."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.subscribeoptions import SubscribeOptions

from edge_node.broker.traffic import Incoming

SESSION_EXPIRY = 3600
"""Seconds for which the broker keeps what sensors send to a node that is away."""


class Inbound:
    """Who is told of what. All but ``receipt`` is said before the connection, or on its thread."""

    def __init__(self) -> None:
        self.incoming: Incoming | None = None
        self.listening: dict[str, Callable[[bytes], None]] = {}
        """Handler by topic."""
        self.receipts: deque[int] = deque()
        """Messages of ``incoming`` that the broker need not keep any more."""
        self._filters: list[str] = []

    def session(self) -> Mapping[str, int]:
        """Properties of a connection whose broker keeps what comes while we are away; none if it need not."""
        if self.incoming is None:
            return {}
        return {"SessionExpiryInterval": SESSION_EXPIRY, "ReceiveMaximum": self.incoming.at_once}

    def begin(self, client: paho.Client, *, resumed: bool) -> None:
        """A connection stands: ask for all that we are there for."""
        filters = [(topic, SubscribeOptions(qos=0)) for topic in self.listening]
        if self.incoming:
            self.receipts.clear()
            self.incoming.begin(resumed=resumed)
            once = SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            filters.append((self.incoming.topic, SubscribeOptions(qos=1, retainHandling=once)))
        if filters:
            client.subscribe(filters)
        self._filters = [topic for topic, _ in filters]

    def refused(self, reasons: list[Any]) -> list[tuple[str, Any]]:
        """Of what we asked for, what the broker will not give, and why."""
        asked = zip(self._filters, reasons, strict=False)
        return [(topic, reason) for topic, reason in asked if reason.is_failure]

    def take(self, message: paho.MQTTMessage) -> bool:
        """Hand it over; whether it is one that the broker keeps."""
        if handler := self.listening.get(message.topic):
            handler(bytes(message.payload))
        elif self.incoming:
            self.incoming.take(message)
            return True
        return False

    def acknowledge(self, client: paho.Client) -> None:
        """All that has a receipt."""
        while self.receipts:
            client.ack(self.receipts.popleft(), qos=1)
