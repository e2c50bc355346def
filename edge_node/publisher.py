"""Results on their way out: to the broker, or to standard output where there is none."""

import logging
import math
import random
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from threading import Event, Thread
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edge_node import mqtt
from edge_node.config import Mqtt
from edge_node.identity import Identity
from edge_node.metrics import Meter
from protos import result as contract
from protos.result import Result

WINDOW = 20
"""Messages handed to paho and not yet acknowledged: its own queue is no place for more."""
BACK_OFF = (1.0, 30.0)
"""Seconds between attempts to reach the broker: at first, and at most."""
_TICK = 1.0
"""Seconds between looks at the keep-alive when nothing else happens."""
_FLUSH_PAUSE = 0.1
"""Seconds between attempts while a stopping node still has results to send."""
_SESSION_EXPIRY = 3600
"""Seconds for which the broker remembers the messages in flight of a client that is gone."""

log = logging.getLogger(__name__)


class Publisher(Protocol):
    """Takes results."""

    def publish(self, result: Result) -> None:
        """Accept a result, from any thread, without waiting for anybody."""


class NoPublisher:
    """For who takes results from ``EdgeNode.infer`` and nowhere else."""

    def publish(self, result: Result) -> None:
        """Forget it."""


class StdoutPublisher:
    """A JSON line a result on standard output."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop

    def publish(self, result: Result) -> None:
        """Write and flush, since the reader may be a pipe; a closed pipe stops the node."""
        try:
            sys.stdout.buffer.write(contract.encode(result) + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            self._stop.set()


class MqttPublisher:
    """MQTT 5, QoS 1; a birth message on each connection, a last will with the same session number.

    One thread owns the connection: it hands paho a small window, reads what the broker says of
    each message, and reconnects. ``publish`` only appends to a queue.
    """

    def __init__(self, settings: Mqtt, identity: Identity, birth: Mapping[str, Any], meter: Meter) -> None:
        self._settings, self._meter = settings, meter
        self._topic = identity.topic(settings.root, "result")
        self._status = identity.topic(settings.root, "status")
        self._birth = _status("online", identity, birth)
        self._death = _status("offline", identity, {})
        self._client = mqtt.client(settings, f"{identity.node.site}-{identity.node.name}")
        self._client.max_inflight_messages_set(WINDOW + 2)  # room for birth and death
        self._client.will_set(self._status, self._death, qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_publish = self._on_publish
        self._loop = mqtt.Loop(self._client)
        self._waiting: deque[Result] = deque()
        self._unacknowledged: set[int] = set()
        self._connected = False
        self._said = ""
        self._closing = Event()
        self._flush_until = math.inf
        self._thread = Thread(target=self._run, name="mqtt", daemon=True)
        meter.queued.set_function(self._outstanding)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what waits, for ``flush`` seconds at most, then say goodbye. What is left is counted."""
        self._flush_until = time.monotonic() + self._settings.flush
        self._closing.set()
        self._loop.wake()
        self._thread.join()
        self._loop.close()
        if left := self._outstanding():
            log.warning("%d results were not acknowledged by the broker, and are lost", left)
            self._meter.dropped["stopped"].inc(left)

    def publish(self, result: Result) -> None:
        """Queue a result; if the queue is full the oldest goes, and is counted."""
        if len(self._waiting) >= self._settings.max_queued:
            with suppress(IndexError):  # sent meanwhile
                self._waiting.popleft()
                self._meter.dropped["full"].inc()
        self._waiting.append(result)
        self._loop.wake()

    def _outstanding(self) -> int:
        return len(self._waiting) + len(self._unacknowledged)

    def _finished(self) -> bool:
        return self._closing.is_set() and (not self._outstanding() or time.monotonic() >= self._flush_until)

    def _run(self) -> None:
        first, most = BACK_OFF
        wait = first
        while not self._finished():
            if self._connect():
                self._serve()
                wait = first
            if self._closing.wait(random.uniform(0, wait)):  # noqa: S311 - full jitter, no secret
                time.sleep(_FLUSH_PAUSE)
            wait = min(2 * wait, most)
        self._say_goodbye()

    def _connect(self) -> bool:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = _SESSION_EXPIRY
        try:
            self._client.connect(
                self._settings.host, self._settings.port, mqtt.KEEP_ALIVE, properties=properties
            )
        except OSError as error:
            self._say(f"cannot be reached: {error}")
            return False
        return True

    def _serve(self) -> None:
        """Work on one connection until it ends, or nothing is left to do."""
        while self._client.socket() is not None and not self._finished():
            self._hand_over()
            self._loop.rest()
            self._loop.turn(0 if self._ready() else _TICK)

    def _ready(self) -> bool:
        return self._connected and bool(self._waiting) and len(self._unacknowledged) < WINDOW

    def _hand_over(self) -> None:
        while self._ready():
            message = self._client.publish(self._topic, contract.encode(self._waiting.popleft()), qos=1)
            self._unacknowledged.add(message.mid)

    def _say_goodbye(self) -> None:
        """The offline message, as the last will would say it: the will itself is for an abrupt end."""
        if self._client.is_connected():
            goodbye = self._client.publish(self._status, self._death, qos=1, retain=True)
            until = time.monotonic() + _TICK
            while not goodbye.is_published() and self._client.is_connected() and time.monotonic() < until:
                self._loop.turn(_FLUSH_PAUSE)
        self._client.disconnect()

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            return self._say(f"refuses the connection: {reason}")
        self._connected = True
        self._meter.connected.set(1)
        client.publish(self._status, self._birth, qos=1, retain=True)
        return self._say("is connected", logging.INFO)

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if self._connected and not self._closing.is_set():
            self._say(f"is lost: {reason}")
        self._connected = False
        self._meter.connected.set(0)

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        if mid not in self._unacknowledged:
            return  # a birth or a death
        self._unacknowledged.discard(mid)
        if reason.is_failure:
            self._meter.dropped["refused"].inc()
            self._say(f"refuses a result: {reason}", logging.ERROR)

    def _say(self, what: str, level: int = logging.WARNING) -> None:
        """Log a change of state once."""
        if what != self._said:
            log.log(level, "broker %s:%d %s", self._settings.host, self._settings.port, what)
        self._said = what


def _status(state: str, identity: Identity, more: Mapping[str, Any]) -> bytes:
    body = {"schema": "tidegate.status/1", "state": state, "session": identity.session, **more}
    return msgspec.json.encode(body)
