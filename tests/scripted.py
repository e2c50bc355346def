"""A broker that answers each result as a test wants: with a reason code, with none, by ending the connection.

MQTT 5, one client at a time. It is for the answers that no real broker gives on demand.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from struct import pack, unpack
from threading import Thread

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from deploy.demo.processes import HOST
from edge_node.broker import mqtt

SUCCESS, NOBODY, UNSPECIFIED, NOT_AUTHORIZED, TOO_LARGE, QUOTA, FORMAT = 0, 16, 128, 135, 149, 151, 153


class End(int):
    """Ends the connection; with a reason code, if it is not 0."""


Answer = int | End | None
"""To a message: a reason code; the end of the connection; or nothing."""
Script = Callable[[bytes], Answer]
"""Payload of a message on a topic that ends in ``/result`` -> what the broker does."""


class ScriptedBroker:
    """Keeps what it has read."""

    def __init__(self, script: Script, *, resumed: bool = False, **limits: int) -> None:
        self.script = script
        self.connects = 0
        self.results: list[bytes] = []
        """Payloads, in the order of arrival."""
        self.sizes: list[int] = []
        """Of their packets, in bytes."""
        self.floors: list[int | None] = []
        """Beside them."""
        self.most = 0
        """Largest number of results that waited for an answer at once."""
        self.pubacks: list[int] = []
        """Packet identifiers that the client acknowledged."""
        self.subscribed: list[socket.socket] = []
        """Connections with a subscription."""
        self._resumed, self._limits = resumed, limits
        self._server = socket.create_server((HOST, 0))
        self.port: int = self._server.getsockname()[1]

    def run(self) -> None:
        """One connection after another, until the server is closed."""
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                with connection, suppress(OSError, EOFError):
                    self._serve(connection)

    def close(self) -> None:
        """Accept no more, and end what there is."""
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def send(self, topic: str, payload: bytes, mid: int, *, again: bool = False) -> None:
        """A QoS 1 message to the client."""
        body = _text(topic) + pack("!H", mid) + b"\0" + payload
        self.subscribed[-1].sendall(_packet(0x32 | again << 3, body))

    def _serve(self, connection: socket.socket) -> None:
        """Until the client or the script ends it."""
        self._waiting = 0
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or its last words may stay with it
        while True:
            kind, body = _read(connection)
            match kind >> 4:
                case PacketTypes.CONNECT:
                    self.connects += 1
                    limits = mqtt.properties(PacketTypes.CONNACK, **self._limits)
                    connection.sendall(_packet(0x20, bytes([self._resumed, 0]) + limits.pack()))  # type: ignore[no-untyped-call]
                case PacketTypes.PUBLISH:
                    mid, answer = self._arrived(kind, body)
                    if isinstance(answer, End):
                        return connection.sendall(_packet(0xE0, bytes([answer, 0])) if answer else b"")
                    if answer is not None:
                        connection.sendall(_packet(0x40, pack("!HBB", mid, answer, 0)))
                case PacketTypes.PUBACK:
                    self.pubacks.append(unpack("!H", body[:2])[0])
                case PacketTypes.SUBSCRIBE:
                    connection.sendall(_packet(0x90, body[:2] + b"\0" + bytes(_filters(body[3:]))))
                    self.subscribed.append(connection)
                case PacketTypes.PINGREQ:
                    connection.sendall(_packet(0xD0, b""))
                case PacketTypes.DISCONNECT:
                    return None

    def _arrived(self, kind: int, body: bytes) -> tuple[int, Answer]:
        """Packet identifier of a message, and what to answer."""
        topic, mid, floor, payload = _publish(body)
        if not topic.endswith("/result"):
            return mid, SUCCESS
        self.results.append(payload)
        self.sizes.append(len(_packet(kind, body)))
        self.floors.append(floor)
        self.most = max(self.most, self._waiting + 1)
        answer = self.script(payload)
        self._waiting += answer is None
        return mid, answer


@contextmanager
def scripted(
    script: Script = lambda _: SUCCESS, *, resumed: bool = False, **limits: int
) -> Iterator[ScriptedBroker]:
    """A broker at work; ``limits``: properties of its CONNACK."""
    broker = ScriptedBroker(script, resumed=resumed, **limits)
    thread = Thread(target=broker.run, daemon=True)
    thread.start()
    yield broker
    broker.close()
    thread.join()


def _packet(kind: int, body: bytes) -> bytes:
    length, digits = len(body), b""
    while True:
        length, digit = length >> 7, length & 0x7F
        digits += bytes([digit | 0x80 if length else digit])
        if not length:
            return bytes([kind]) + digits + body


def _read(connection: socket.socket) -> tuple[int, bytes]:
    kind, length, shift = _exactly(connection, 1)[0], 0, 0
    while True:
        digit = _exactly(connection, 1)[0]
        length |= (digit & 0x7F) << shift
        shift += 7
        if digit < 0x80:
            return kind, _exactly(connection, length)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (more := connection.recv(size - len(data))):
            raise EOFError
        data += more
    return data


def _filters(body: bytes) -> int:
    """How many a SUBSCRIBE asks for."""
    count = 0
    while body:
        body = body[2 + unpack("!H", body[:2])[0] + 1 :]
        count += 1
    return count


def _text(text: str) -> bytes:
    return pack("!H", len(text.encode())) + text.encode()


def _publish(body: bytes) -> tuple[str, int, int | None, bytes]:
    """Topic, packet identifier, floor and payload of a QoS 1 PUBLISH."""
    size = unpack("!H", body[:2])[0]
    topic, rest = body[2 : 2 + size].decode(), body[2 + size :]
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    _, used = properties.unpack(rest[2:])  # type: ignore[no-untyped-call]
    said = dict(getattr(properties, "UserProperty", []))
    floor = int(said["floor"]) if "floor" in said else None
    return topic, unpack("!H", rest[:2])[0], floor, rest[2 + used :]
