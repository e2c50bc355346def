"""One connection to the broker, from its start to its end; the next one is another object.

paho would resend on a new connection whatever it had not finished on the old one, acks that are
out of date by then included. A new client knows nothing of the old one, and the broker has kept
what was not acknowledged to it.
"""

import logging
import select
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from cloud_server.config import Fleet
from cloud_server.fleet import secrets

WINDOW = 1000
"""Messages that the broker may send before it hears that they are stored; its own limit may be lower."""
LINGER = 0.05
"""Seconds for which messages are gathered before they are stored."""
KEEP_ALIVE = 30
"""Seconds."""
_SESSION = 14 * 86400
"""Seconds for which the broker keeps what comes while we are away."""
_CONNECT_TIMEOUT = 5.0

_CALLBACKS = ("on_connect", "on_disconnect", "on_subscribe", "on_publish", "on_message")

log = logging.getLogger(__name__)


class Interest(NamedTuple):
    """What a connection is there for."""

    client_id: str
    topics: tuple[tuple[str, int], ...]
    """Filters, each with its QoS."""
    keep: int
    """Seconds for which the broker keeps what comes while we are away."""
    username: str | None
    password: str | None


class Login:
    """What connections say of themselves. ``SecretError`` if a password or certificate is no good."""

    def __init__(self, settings: Fleet) -> None:
        self.mqtt = mqtt = settings.mqtt
        self.topic = f"{mqtt.root}/+/+/result"
        if settings.group:
            self.topic = f"$share/{settings.group}/{self.topic}"
        user = mqtt.username, secrets.password(mqtt.password_file)
        self.results = Interest(mqtt.client_id, ((self.topic, 1),), _SESSION, *user)
        if watch := settings.watch:
            user = watch.username, secrets.password(watch.password_file)
        watched = ((f"{mqtt.root}/+/+/status", 1), (f"{mqtt.root}/+/+/metrics", 0))
        self.watch = Interest(f"{mqtt.client_id}-watch", watched, 0, *user)
        self.trust = secrets.trust(mqtt.tls) if mqtt.tls else None


class Connection:
    """MQTT 5 in the thread that calls ``turn``: takes messages, acknowledges those of QoS 1 when told to."""

    def __init__(self, login: Login, interest: Interest, take: Callable[[paho.MQTTMessage], None]) -> None:
        self.subscribed = False
        """Whether the broker has granted what we are here for."""
        self.problem = "no answer"
        """Why it ended."""
        self._login, self._interest, self._take = login, interest, take
        self._client = _client(login, interest)
        for callback in _CALLBACKS:
            setattr(self._client, callback, getattr(self, f"_{callback}"))

    def __enter__(self) -> Self:
        """Connect; OSError if nobody is there."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._interest.keep
        properties.ReceiveMaximum = WINDOW
        mqtt, anew = self._login.mqtt, not self._interest.keep
        self._client.connect(mqtt.host, mqtt.port, KEEP_ALIVE, clean_start=anew, properties=properties)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say goodbye; the broker keeps what comes from now on."""
        self._client.disconnect()
        for callback in _CALLBACKS:  # a cycle would leave the client's sockets to the garbage collector
            setattr(self._client, callback, None)

    @property
    def alive(self) -> bool:
        """Whether another turn is worth while."""
        return self._client.socket() is not None

    def turn(self, timeout: float) -> bool:
        """Take what has arrived, for ``LINGER`` at most, once something has or ``timeout`` seconds pass.

        Gives whether anything has. Mosquitto sends a backlog without regard for the window.
        """
        arrived, enough = False, time.monotonic() + timeout + LINGER
        while (connection := self._client.socket()) and self._readable(connection, timeout):
            self._client.loop_read()
            arrived, timeout = True, 0.0
            if time.monotonic() > enough:
                break
        self._client.loop_misc()
        return arrived

    def acknowledge(self, message: paho.MQTTMessage) -> None:
        """Tell the broker that it need not keep this message."""
        self._client.ack(message.mid, message.qos)

    def publish(self, topic: str, payload: bytes) -> None:
        """Leave a word for whoever listens now or later."""
        self._client.publish(topic, payload, qos=1, retain=True)

    def _readable(self, connection: Any, timeout: float) -> bool:
        """Whether there is something to read; sends what could not be sent at once."""
        pending = bool(getattr(connection, "pending", int)())  # TLS has decrypted more than was read
        writing = [connection] if self._client.want_write() else []
        readable, writable, _ = select.select([connection], writing, [], 0 if pending else timeout)
        if writable:
            self._client.loop_write()
        return pending or bool(readable)

    def _on_connect(
        self, client: paho.Client, _data: object, _flags: object, code: ReasonCode, _properties: object
    ) -> None:
        if code.is_failure:
            self.problem = f"refused: {code}"
        else:
            client.subscribe(list(self._interest.topics))

    def _on_subscribe(
        self,
        client: paho.Client,
        _data: object,
        _mid: int,
        codes: list[ReasonCode],
        _properties: object,
    ) -> None:
        refused = [code for code in codes if code.is_failure]
        self.subscribed = not refused
        if refused:
            topics = " and ".join(topic for topic, _ in self._interest.topics)
            self.problem = f"may not subscribe to {topics}: {refused[0]}"
            client.disconnect()

    def _on_disconnect(
        self, _client: paho.Client, _data: object, _flags: object, code: ReasonCode, _properties: object
    ) -> None:
        if self.subscribed:
            self.problem = str(code)

    def _on_publish(
        self, _client: paho.Client, _data: object, _mid: int, code: ReasonCode, _properties: object
    ) -> None:
        if code.is_failure:
            log.error("the broker takes no acks from us, nodes will not hear what is stored: %s", code)

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        self._take(message)


def _client(login: Login, interest: Interest) -> paho.Client:
    client = paho.Client(
        CallbackAPIVersion.VERSION2, interest.client_id, protocol=paho.MQTTv5, manual_ack=True
    )
    client.connect_timeout = _CONNECT_TIMEOUT
    if interest.username is not None:
        client.username_pw_set(interest.username, interest.password)
    if login.trust:
        client.tls_set_context(login.trust)
    return client
