"""A paho client from our settings, and the loop that one thread of ours drives it with."""

import math
import select
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties

from edge_node.config import Mqtt, Tls
from edge_node.errors import NodeError

KEEP_ALIVE = 30
"""Seconds. A dead link is noticed, and the last will spoken, within one and a half of it."""
LINGER = 0.002
"""Seconds from a wake-up to the work: who woke us goes on first, and what comes meanwhile is sent along."""
CONNECT_TIMEOUT = 3.0
"""Seconds for a broker to accept a connection."""


def client(settings: Mqtt, client_id: str) -> paho.Client:
    """An MQTT 5 client for one connection; ``NodeError`` if a password or certificate file cannot be read.

    For one, since on a second one paho would send again by itself what was under way on the first,
    whatever limits hold there. How much is under way at once is for who uses it to say.
    """
    made = _Client(CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5, manual_ack=True)
    made.connect_timeout = CONNECT_TIMEOUT
    made.max_inflight_messages = 0
    if settings.username is not None:
        made.username_pw_set(settings.username, _password(settings))
    if settings.tls:
        made.tls_set_context(_trust(settings.tls))
    return made


class _Client(paho.Client):
    """Reads to the end what a broker said before it closed the connection.

    Else the first write that fails would end it, with the reason that the broker gave, and with
    the last acknowledgements, unread.
    """

    def _sock_send(self, buf: bytes | bytearray) -> int:
        try:
            return super()._sock_send(buf)
        except BlockingIOError:
            raise
        except OSError:
            return len(buf)


def properties(packet: int, **values: object) -> Properties:
    """MQTT 5 properties of a packet of this type (``PacketTypes``)."""
    made = Properties(packet)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(made, name, value)
    return made


def publish_size(topic: str, payload: bytes, extra: Properties | None) -> int:
    """Bytes of a PUBLISH packet of QoS 1, as a broker counts them against its maximum."""
    packed = len(extra.pack()) if extra else 1  # type: ignore[no-untyped-call]
    remaining = 2 + len(topic.encode()) + 2 + packed + len(payload)
    return 1 + (1 + (remaining > 127) + (remaining > 16_383) + (remaining > 2_097_151)) + remaining


class Loop:
    """The network work of one client at a time, done by the thread that calls ``turn``.

    Others can ``wake`` it. paho's own thread is woken by a system call for every message; here a
    whole batch costs one.
    """

    def __init__(self) -> None:
        self._idle = False
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.settimeout(0)

    def close(self) -> None:
        """Free what ``wake`` uses."""
        self._wake_in.close()
        self._wake_out.close()

    def wake(self) -> None:
        """End a ``turn`` that waits; from any thread."""
        if self._idle:
            self._idle = False
            with suppress(OSError):  # it is full of wake-ups already, or closed
                self._wake_in.send(b"\0")

    def turn(self, client: paho.Client, timeout: float) -> None:
        """Read and write what the connection has to, once something happens or ``timeout`` seconds pass."""
        connection = client.socket()
        if connection is None:
            return
        buffered = bool(getattr(connection, "pending", int)())  # TLS has decrypted more than was read
        poll = select.poll()
        poll.register(self._wake_out, select.POLLIN)
        poll.register(connection, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
        ready = dict(poll.poll(0 if buffered else math.ceil(timeout * 1000)))
        self._idle = False
        if self._wake_out.fileno() in ready:
            self._wake_out.recv(4096)
            time.sleep(LINGER)
        events = ready.get(connection.fileno(), 0)
        if buffered or events & ~select.POLLOUT:
            client.loop_read()
        if events & select.POLLOUT:
            client.loop_write()
        client.loop_misc()

    def rest(self) -> None:
        """Say that the next ``turn`` may wait: look once more for work after this, before it."""
        self._idle = True


def _password(settings: Mqtt) -> str | None:
    if settings.password_file is None:
        return None
    with _named(settings.password_file):
        return settings.password_file.read_text().strip()


def _trust(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with _named(tls.ca):
        context.load_verify_locations(tls.ca)
    if tls.cert:
        with _named(tls.cert, *filter(None, [tls.key])):
            context.load_cert_chain(tls.cert, tls.key, password=lambda: "")  # it would ask a terminal for one
    return context


@contextmanager
def _named(*paths: Path) -> Iterator[None]:
    """``NodeError`` names the files that cannot be used."""
    files = " with ".join(map(str, paths))
    try:
        yield
    except ssl.SSLError as error:
        raise NodeError(f"[mqtt] {files}: cannot be used for TLS ({error.reason or error})") from error
    except OSError as error:
        raise NodeError(f"[mqtt] {files}: {(error.strerror or str(error)).lower()}") from error
    except ValueError as error:
        raise NodeError(f"[mqtt] {files}: {error}") from error
