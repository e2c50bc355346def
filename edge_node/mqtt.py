"""A paho client from our settings, and the loop that one thread of ours drives it with."""

import select
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edge_node.config import Mqtt, Tls
from edge_node.errors import NodeError

KEEP_ALIVE = 30
"""Seconds. A dead link is noticed, and the last will spoken, within one and a half of it."""
LINGER = 0.002
"""Seconds from a wake-up to the work: who woke us goes on first, and what comes meanwhile is sent along."""
CONNECT_TIMEOUT = 3.0
"""Seconds for a broker to accept a connection."""


def client(settings: Mqtt, client_id: str) -> paho.Client:
    """An unconnected MQTT 5 client; ``NodeError`` if a password or certificate file cannot be read."""
    made = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5)
    made.connect_timeout = CONNECT_TIMEOUT
    if settings.username is not None:
        made.username_pw_set(settings.username, _password(settings))
    if settings.tls:
        made.tls_set_context(_trust(settings.tls))
    return made


class Loop:
    """The network work of a client, done by the thread that calls ``turn``, which others can ``wake``.

    paho's own thread is woken by a system call for every message; here a whole batch costs one.
    """

    def __init__(self, client: paho.Client) -> None:
        self._client = client
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
            with suppress(BlockingIOError):  # it is full of wake-ups already
                self._wake_in.send(b"\0")

    def turn(self, timeout: float) -> None:
        """Read and write what the connection has to, once something happens or ``timeout`` seconds pass."""
        connection = self._client.socket()
        if connection is None:
            return
        buffered = bool(getattr(connection, "pending", int)())  # TLS has decrypted more than was read
        writing = [connection] if self._client.want_write() else []
        readable, writable, _ = select.select(
            [connection, self._wake_out], writing, [], 0 if buffered else timeout
        )
        self._idle = False
        if self._wake_out in readable:
            self._wake_out.recv(4096)
            time.sleep(LINGER)
        if buffered or connection in readable:
            self._client.loop_read()
        if writable:
            self._client.loop_write()
        self._client.loop_misc()

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
