"""Messages as they come from the broker: read, and counted where they are no results."""

import logging
from typing import NamedTuple

from paho.mqtt.client import MQTTMessage

from cloud_server.fleet import arrival
from cloud_server.fleet.arrival import Arrival, Refused
from cloud_server.metrics import Meter

_COMPLAINTS = 1000
"""Kinds of refusal that are logged, each once: who sends rubbish shall not fill the log, too."""

log = logging.getLogger(__name__)


class Received(NamedTuple):
    """A message, and what it brings into the store if anything."""

    message: MQTTMessage
    arrival: Arrival | None


class Intake:
    """Reads what comes under ``{root}/+/+/result``."""

    def __init__(self, root: str, meter: Meter) -> None:
        self._prefix, self._meter = f"{root}/", meter
        self._complaints: set[tuple[str, str]] = set()

    def read(self, message: MQTTMessage) -> Received:
        """Whatever it is."""
        try:
            names = message.topic.removeprefix(self._prefix).split("/")[:-1]
            brought = arrival.read(names, bytes(message.payload), _floor(message))
        except UnicodeDecodeError:
            self._complain("?", Refused("topic", "no UTF-8"))
        except Refused as refusal:
            self._complain(message.topic, refusal)
        else:
            if brought.refused:
                self._complain(message.topic, brought.refused)
            return Received(message, brought)
        return Received(message, None)

    def unstorable(self, message: MQTTMessage, brought: Arrival, error: Exception) -> Arrival:
        """What is kept of a message whose columns the database would not have."""
        refusal = Refused("unstorable", type(error).__name__)
        self._complain(message.topic, refusal)
        return arrival.as_it_came(brought, bytes(message.payload), refusal)

    def _complain(self, topic: str, refusal: Refused) -> None:
        """Count it, and say it once."""
        self._meter.refused.labels(refusal.reason).inc()
        kind = (topic, refusal.reason)
        if kind not in self._complaints and len(self._complaints) < _COMPLAINTS:
            self._complaints.add(kind)
            log.warning("%r: refused, %s", topic, refusal)


def _floor(message: MQTTMessage) -> str | None:
    """What the node says will not come any more."""
    properties = getattr(message.properties, "UserProperty", ())
    return next((value for name, value in properties if name == "floor"), None)
