"""The node's one connection to its broker: birth, last will, reconnection; what goes out, what comes in.

One connection, since a broker may allow a device no more than that, and since one last will must
speak for all of it.
"""

import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from contextlib import closing
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

BACK_OFF = (1.0, 30.0)
"""Seconds between attempts to reach the broker: at first, and at most."""
_TICK = 1.0
"""Seconds between looks at the keep-alive when nothing else happens."""
_FLUSH_PAUSE = 0.1
"""Seconds between attempts while a stopping node still has results to send."""
_SESSION_EXPIRY = 3600
"""Seconds for which the broker remembers the messages in flight of a client that is gone."""

_CALLBACKS = ("on_connect", "on_disconnect", "on_publish", "on_subscribe", "on_message")

Handler = Callable[[str, bytes], None]
"""Takes topic and payload of a message, on the connection's thread."""

log = logging.getLogger(__name__)


class Outgoing(Protocol):
    """What the connection is there to send. Its methods are called on the connection's thread."""

    def ready(self) -> bool:
        """Whether a message waits that may go now."""

    def outstanding(self) -> int:
        """Messages that wait, or are not acknowledged."""

    def next(self) -> tuple[str, bytes]:
        """Topic and payload of a message that is ready."""

    def sent(self, mid: int) -> None:
        """The message just taken went out under this number."""

    def acknowledged(self, mid: int, refusal: str | None) -> None:
        """The broker's word on a message: taken, or refused and why."""

    def abandon(self) -> None:
        """The connection is over: what is still outstanding is not sent any more."""


class Connection:
    """MQTT 5, QoS 1; a birth message each time it stands, a last will with the same session number.

    A thread of its own drives it: it sends what is ready, reads what the broker says, reconnects.
    """

    def __init__(self, settings: Mqtt, identity: Identity, birth: Mapping[str, Any], meter: Meter) -> None:
        self.identity, self._settings, self._meter = identity, settings, meter
        self._status = self.topic("status")
        self._birth = _status("online", identity, birth)
        self._death = _status("offline", identity, {})
        self._client = mqtt.client(settings, f"{identity.node.site}-{identity.node.name}")
        self._client.will_set(self._status, self._death, qos=1, retain=True)
        for callback in _CALLBACKS:
            setattr(self._client, callback, getattr(self, f"_{callback}"))
        self._loop: mqtt.Loop | None = None
        self._outgoing: Outgoing | None = None
        self._subscription: tuple[str, Handler] | None = None
        self._connected = False
        self._said = ""
        self._closing = Event()
        self._flush_until = math.inf

    def __enter__(self) -> Self:
        self._loop = mqtt.Loop(self._client)
        self._thread = Thread(target=self._run, args=[self._loop], name="mqtt", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what is outstanding, for ``flush`` seconds at most, then say goodbye."""
        self._flush_until = time.monotonic() + self._settings.flush
        self._closing.set()
        self.wake()
        self._thread.join()
        for callback in _CALLBACKS:  # a cycle would leave the client's sockets to the garbage collector
            setattr(self._client, callback, None)
        if self._outgoing:
            self._outgoing.abandon()

    def topic(self, leaf: str) -> str:
        """One of this node's own topics."""
        return self.identity.topic(self._settings.root, leaf)

    def carry(self, outgoing: Outgoing) -> None:
        """Send this; said once, before entering."""
        self._outgoing = outgoing

    def subscribe(self, topic: str, handler: Handler) -> None:
        """Hand over what arrives under this filter; said once, before entering."""
        self._subscription = topic, handler

    def wake(self) -> None:
        """Something may be ready; from any thread."""
        if self._loop:
            self._loop.wake()

    def _finished(self) -> bool:
        if not self._closing.is_set():
            return False
        outstanding = self._outgoing and self._outgoing.outstanding()
        return not outstanding or time.monotonic() >= self._flush_until

    def _run(self, loop: mqtt.Loop) -> None:
        first, most = BACK_OFF
        wait = first
        with closing(loop):
            while not self._finished():
                wait = first if self._serve(loop) else min(2 * wait, most)
                if self._closing.wait(random.uniform(0, wait)):  # noqa: S311 - full jitter, no secret
                    time.sleep(_FLUSH_PAUSE)

    def _serve(self, loop: mqtt.Loop) -> bool:
        """Work on one connection until it ends, or nothing is left to do; whether it ever stood."""
        stood = False
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = _SESSION_EXPIRY
        try:
            self._client.connect(
                self._settings.host, self._settings.port, mqtt.KEEP_ALIVE, properties=properties
            )
        except OSError as error:
            self._say(f"cannot be reached: {error}")
        while self._client.socket() is not None and not self._finished():
            self._send()
            loop.rest()
            loop.turn(0 if self._ready() else _TICK)
            stood |= self._connected
        self._say_goodbye(loop)
        return stood

    def _ready(self) -> bool:
        return self._connected and self._outgoing is not None and self._outgoing.ready()

    def _send(self) -> None:
        while self._outgoing and self._ready():
            self._outgoing.sent(self._client.publish(*self._outgoing.next(), qos=1).mid)

    def _say_goodbye(self, loop: mqtt.Loop) -> None:
        """The offline message, as the last will would say it: the will itself is for an abrupt end."""
        if self._client.is_connected():
            goodbye = self._client.publish(self._status, self._death, qos=1, retain=True)
            until = time.monotonic() + _TICK
            while not goodbye.is_published() and self._client.is_connected() and time.monotonic() < until:
                loop.turn(_FLUSH_PAUSE)
        self._client.disconnect()

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            return self._say(f"refuses the connection: {reason}")
        self._connected = True
        self._meter.connected.set(1)
        client.publish(self._status, self._birth, qos=1, retain=True)
        if self._subscription:
            client.subscribe(self._subscription[0], qos=1)
        return self._say("is connected", logging.INFO)

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if self._connected and not self._closing.is_set():
            self._say(f"is lost: {reason}")
        self._connected = False
        self._meter.connected.set(0)

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        if self._outgoing:
            self._outgoing.acknowledged(mid, str(reason) if reason.is_failure else None)
        if reason.is_failure:
            self._say(f"refuses a message: {reason}", logging.ERROR)

    def _on_subscribe(
        self, _client: Any, _data: Any, _mid: int, reasons: list[Any], _properties: Any
    ) -> None:
        if self._subscription and any(reason.is_failure for reason in reasons):
            self._say(f"refuses the subscription to {self._subscription[0]}: {reasons[0]}", logging.ERROR)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        if self._subscription:
            self._subscription[1](message.topic, bytes(message.payload))

    def _say(self, what: str, level: int = logging.WARNING) -> None:
        """Log a change of state once."""
        if what != self._said:
            log.log(level, "broker %s:%d %s", self._settings.host, self._settings.port, what)
        self._said = what


def _status(state: str, identity: Identity, more: Mapping[str, Any]) -> bytes:
    body = {"schema": "tidegate.status/1", "state": state, "session": identity.session, **more}
    return msgspec.json.encode(body)
