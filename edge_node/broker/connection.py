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
from typing import Any, Self

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_node.broker import mqtt
from edge_node.broker.inbound import Inbound
from edge_node.broker.traffic import OWN, Incoming, Message, Outgoing
from edge_node.config import Mqtt
from edge_node.errors import NodeError
from edge_node.identity import Identity
from edge_node.metrics import Meter

BACK_OFF = (3.0, 30.0)
"""Seconds between attempts to reach the broker, at most: at first, and in the end. Each is drawn at random
from zero up to that, so that a fleet does not come back all at once; the first decides how fast it comes."""
WINDOW = 20
"""Messages that may be unacknowledged at once; fewer where the broker says so."""
SILENCE = 60.0
"""Seconds without an acknowledgement after which a connection is taken for dead, whatever else it says."""
_TICK = 1.0
"""Seconds between looks at the keep-alive when nothing else happens."""
_FLUSH_PAUSE = 0.1
"""Seconds between attempts while a stopping node still has results to send."""

_CALLBACKS = ("on_connect", "on_disconnect", "on_publish", "on_subscribe", "on_message")

log = logging.getLogger(__name__)


Birth = Callable[[], Mapping[str, Any]]
"""What a birth message says beside state and session, asked each time that one goes out."""


class Connection:
    """MQTT 5, QoS 1; a birth message each time it stands, a last will with the same session number.

    A thread of its own drives it: it sends what is ready, reads what the broker says, reconnects.
    """

    def __init__(self, settings: Mqtt, identity: Identity, birth: Birth, meter: Meter) -> None:
        self.identity, self._settings, self._meter = identity, settings, meter
        self._birth = birth
        self._death = Message(self.topic("status"), _status("offline", identity, {}))
        self._client = self._make_client()
        self._loop: mqtt.Loop | None = None
        self._outgoing: Outgoing | None = None
        self._inbound = Inbound()
        self._report: tuple[str, float, Callable[[], bytes]] | None = None
        self._report_at = -math.inf
        self._under_way: dict[int, Message] = {}
        self._published: dict[int, float] = {}
        self._connected = self._useful = False
        self._said = ""
        self._closing = Event()
        self._flush_until = math.inf

    def __enter__(self) -> Self:
        self._loop = mqtt.Loop()
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
        if self._outgoing:
            self._outgoing.close()

    def topic(self, leaf: str) -> str:
        """One of this node's own topics."""
        return self.identity.topic(self._settings.root, leaf)

    def carry(self, outgoing: Outgoing) -> None:
        """Send this; said once, before entering."""
        self._outgoing = outgoing

    def subscribe(self, incoming: Incoming) -> None:
        """Hand over what arrives there; said once, before entering."""
        self._inbound.incoming = incoming

    def listen(self, topic: str, handler: Callable[[bytes], None]) -> None:
        """Hand over what arrives at this topic, on the connection's thread; said before entering."""
        self._inbound.listening[topic] = handler

    def report(self, topic: str, every: float, make: Callable[[], bytes]) -> None:
        """Publish what this makes at QoS 0, every so many seconds while connected; said before entering."""
        self._report = topic, every, make

    def receipt(self, mid: int) -> None:
        """Acknowledge a message of ``Incoming``; from any thread."""
        self._inbound.receipts.append(mid)
        self.wake()

    def wake(self) -> None:
        """Something may be ready; from any thread."""
        if self._loop:
            self._loop.wake()

    def _finished(self) -> bool:
        if not self._closing.is_set():
            return False
        idle = not self._under_way and (self._outgoing is None or self._outgoing.idle())
        return (idle and not self._inbound.receipts) or time.monotonic() >= self._flush_until

    def _run(self, loop: mqtt.Loop) -> None:
        first, most = BACK_OFF
        wait = first
        with closing(loop):
            while not self._finished():
                started = time.monotonic()
                try:
                    self._serve(loop)
                except Exception:
                    log.exception("a mistake of ours ended the connection to the broker")
                kept = self._useful or time.monotonic() - started > wait
                wait = first if kept else min(2 * wait, most)
                if self._closing.wait(random.uniform(0, wait)):  # noqa: S311 - full jitter, no secret
                    time.sleep(_FLUSH_PAUSE)

    def _serve(self, loop: mqtt.Loop) -> None:
        """Work on one connection until it ends, or nothing is left to do."""
        self._under_way.clear()
        self._published.clear()
        self._ended: ReasonCode | None = None
        self._useful = False
        try:
            self._connect()
        except (OSError, NodeError) as error:
            self._say(f"cannot be reached: {error}")
        while self._client.socket() is not None and not self._finished() and not self._silent():
            self._send()
            loop.rest()
            loop.turn(self._client, self._send())
        self._say_goodbye(loop)
        self._meter.unrest.set()
        for callback in _CALLBACKS:  # a cycle would leave the client's sockets to the garbage collector
            setattr(self._client, callback, None)
        if self._outgoing:
            self._outgoing.ended([it for it in self._under_way.values() if it.seq != OWN], self._ended)

    def _make_client(self) -> paho.Client:
        return mqtt.client(self._settings, f"{self.identity.node.site}-{self.identity.node.name}")

    def _connect(self) -> None:
        """Ask for a connection; sessions are for what comes in, what goes out has the outbox."""
        self._client = client = self._make_client()
        client.will_set(self._death.topic, self._death.payload, qos=1, retain=True)
        for callback in _CALLBACKS:
            setattr(client, callback, getattr(self, f"_{callback}"))
        session = self._inbound.session()
        client.connect(
            self._settings.host,
            self._settings.port,
            mqtt.KEEP_ALIVE,
            clean_start=not session,
            properties=mqtt.properties(PacketTypes.CONNECT, **session),
        )

    def _send(self) -> float:
        """Send what may go now; the seconds after which there may be more, if nobody wakes us."""
        if self._connected:
            self._send_report()
            self._inbound.acknowledge(self._client)
        while self._connected and self._outgoing and len(self._under_way) < self._window:
            message = self._outgoing.next(busy=bool(self._under_way))
            if not isinstance(message, Message):
                return min(message, _TICK)
            extra = _properties(message)
            size = mqtt.publish_size(message.topic, message.payload, extra)
            if size > self._largest:
                self._outgoing.too_large(message, f"{size} bytes, the broker takes {self._largest}")
            else:
                self._publish(message, extra)
        return _TICK

    def _send_report(self) -> None:
        """If it is due. It waits for nobody's word, and is not made while others still wait to leave."""
        if not self._report or time.monotonic() < self._report_at or self._client.want_write():
            return
        topic, every, make = self._report
        self._report_at = time.monotonic() + every
        try:
            payload = make()
        except Exception:
            log.exception("nothing to report on %s: a mistake of ours", topic)
        else:
            if mqtt.publish_size(topic, payload, None) <= self._largest:
                self._client.publish(topic, payload)

    def _publish(self, message: Message, extra: Properties | None = None, *, retain: bool = False) -> None:
        if not self._under_way:
            self._heard = time.monotonic()
        info = self._client.publish(message.topic, message.payload, 1, retain, extra)
        self._under_way[info.mid] = message
        self._published[info.mid] = time.monotonic()

    def _silent(self) -> bool:
        silent = bool(self._under_way) and time.monotonic() - self._heard > SILENCE
        if silent:
            self._say(f"has not acknowledged anything for {SILENCE:.0f} s")
        return silent

    def _say_goodbye(self, loop: mqtt.Loop) -> None:
        """The offline message, as the last will would say it: the will itself is for an abrupt end."""
        if self._closing.is_set() and self._client.is_connected():
            self._publish(self._death, retain=True)
            until = time.monotonic() + _TICK
            while self._death in self._under_way.values() and self._connected and time.monotonic() < until:
                loop.turn(self._client, _FLUSH_PAUSE)
        self._client.disconnect()

    def _on_connect(self, client: paho.Client, _data: Any, flags: Any, reason: Any, limits: Any) -> None:
        if reason.is_failure:
            return self._say(f"refuses the connection: {reason}")
        self._connected = True
        self._meter.connected.set(1)
        self._window = min(WINDOW, getattr(limits, "ReceiveMaximum", WINDOW))
        self._largest = getattr(limits, "MaximumPacketSize", math.inf)
        self._publish(
            Message(self.topic("status"), _status("online", self.identity, self._birth())), retain=True
        )
        if self._outgoing:
            self._outgoing.begin()
        self._inbound.begin(client, resumed=flags.session_present)
        return self._say("is connected", logging.INFO)

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if self._connected and not self._closing.is_set():
            self._say(f"is lost: {reason}")
        self._connected, self._ended = False, reason if reason.is_failure else None
        self._meter.connected.set(0)

    def _on_publish(self, _client: Any, _data: Any, mid: int, reason: Any, _properties: Any) -> None:
        message = self._under_way.pop(mid, None)
        if message is None:
            return  # a report has left; nobody acknowledges it
        self._heard = time.monotonic()
        self._meter.stage["publish"].observe(self._heard - self._published.pop(mid, self._heard))
        if self._outgoing and message.seq != OWN:
            self._useful = True
            self._outgoing.answered(message, reason)
        if reason.is_failure:
            self._say(f"refuses a message: {reason}", logging.ERROR)

    def _on_subscribe(
        self, _client: Any, _data: Any, _mid: int, reasons: list[Any], _properties: Any
    ) -> None:
        for topic, reason in self._inbound.refused(reasons):
            self._say(f"refuses the subscription to {topic}: {reason}", logging.ERROR)

    def _on_message(self, _client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        self._useful |= self._inbound.take(message)

    def _say(self, what: str, level: int = logging.WARNING) -> None:
        """Log a change of state once."""
        if what != self._said:
            log.log(level, "broker %s:%d %s", self._settings.host, self._settings.port, what)
        self._said = what


def _properties(message: Message) -> Properties | None:
    if message.floor is None:
        return None
    return mqtt.properties(PacketTypes.PUBLISH, UserProperty=("floor", str(message.floor)))


def _status(state: str, identity: Identity, more: Mapping[str, Any]) -> bytes:
    body = {"schema": "tidegate.status/1", "state": state, "session": identity.session, **more}
    return msgspec.json.encode(body)
