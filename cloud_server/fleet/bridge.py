"""Metrics of devices that Prometheus cannot reach: their snapshots come over MQTT, and go on from here.

On ``/metrics`` stands what each device said last, under its own names and with its ``site`` and
``node``, counters as they are: who starts again counts from zero, which ``rate()`` knows. A sum
kept here would be lost with this process, and differ from what the device itself shows.

A connection of its own, beside that of the results: a database that is away must not make devices
look silent, and of metrics the broker need not keep any.
"""

import logging
import re
import time
from collections import defaultdict

from paho.mqtt.client import MQTTMessage

from cloud_server.config import Fleet
from cloud_server.fleet import exposition
from cloud_server.fleet.arrival import Refused
from cloud_server.fleet.broker import Login
from cloud_server.fleet.devices import Devices, Key
from cloud_server.fleet.history import History
from cloud_server.fleet.listener import Listener
from cloud_server.metrics import Meter
from protos import snapshot, status

_TICK = 1.0
"""Seconds between looks at who is over."""
_PATIENCE = 0.1
"""Seconds to wait for a message."""
_COMPLAINTS = 20
"""Topics of which a reason for refusal is logged, each once: a crowd shall not fill the log."""
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

log = logging.getLogger(__name__)


class Bridge(Listener):
    """Listens while inside; what it hears is in ``devices`` and ``history``."""

    def __init__(self, settings: Fleet, meter: Meter) -> None:
        login = Login(settings)
        super().__init__(login, login.watch, "bridge", meter.bridge_connected)
        self.history = History()
        self.devices = Devices(settings.max_nodes, settings.max_series, forget=self.history.forget)
        self._meter = meter
        self._prefix = f"{settings.mqtt.root}/"
        self._tidy_at = 0.0
        self._complaints: defaultdict[str, set[str]] = defaultdict(set)
        meter.beside(self._extend)

    def _patience(self) -> float:
        return _PATIENCE

    def _take(self, message: MQTTMessage) -> None:
        """As the connection brings it."""
        self._connection.acknowledge(message)
        try:
            topic = message.topic
            self._read(topic, bytes(message.payload))
        except UnicodeDecodeError:
            self._complain("?", Refused("topic", "no UTF-8"))
        except Refused as refusal:
            self._complain(topic, refusal)
        except (ValueError, RecursionError) as error:
            self._complain(topic, Refused("malformed", error))

    def _read(self, topic: str, payload: bytes) -> None:
        key, leaf = _address(topic.removeprefix(self._prefix))
        if leaf == "status":
            self.devices.say(key, status.decode(payload) if payload else None)
        else:
            found = snapshot.decode(payload)
            self._meter.refused_series.inc(self.devices.report(key, found))
            self._meter.snapshots.inc()
            self.history.take(key, found)

    def _complain(self, topic: str, refusal: Refused) -> None:
        """Count it, and say it once."""
        self._meter.refused_reports.labels(refusal.reason).inc()
        said = self._complaints[refusal.reason]
        if topic not in said and len(said) < _COMPLAINTS:
            said.add(topic)
            log.warning("%r: refused, %s", topic[:200], str(refusal)[:200])

    def _work(self, *, quiet: bool) -> None:  # noqa: ARG002 - as Listener
        """See who is over, from time to time."""
        if time.monotonic() >= self._tidy_at:
            self._tidy_at = time.monotonic() + _TICK
            self.devices.tidy()
            for state, count in self.devices.counts().items():
                self._meter.devices.labels(state).set(count)
            self._meter.device_series.set(self.devices.series())

    def _extend(self, own: bytes) -> bytes:
        """What ``/metrics`` shows: of this server, and of every device."""
        return exposition.merge(own, self.devices.blocks())


def _address(names: str) -> tuple[Key, str]:
    site, _, rest = names.partition("/")
    node, _, leaf = rest.partition("/")
    if not (_NAME.fullmatch(site) and _NAME.fullmatch(node)):
        raise Refused("topic", "site and node are of A-Z, a-z, 0-9, _ and -, 64 at most")
    return Key(site, node), leaf
