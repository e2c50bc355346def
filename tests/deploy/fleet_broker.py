"""The broker of `deploy/mosquitto` in a folder of its own, and MQTT 5 clients that keep what it answers."""

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from shutil import copy

import trustme
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from deploy.demo.processes import HOST, Child, wait_until
from tests.ports import free_port
from tests.services import require

KIT = Path(__file__).parents[2] / "deploy/mosquitto"
PASSWORD = "correct horse"
SUCCESS = 0
WAIT = 60.0


@dataclass(frozen=True)
class Broker:
    """The kit, installed and ready to run."""

    folder: Path
    command: Sequence[str | Path]
    tls_port: int
    plain_port: int

    @contextmanager
    def running(self) -> Iterator[Child]:
        with Child("broker", self.command, self.folder / "broker.log") as child:
            assert wait_until(lambda: child.poll() is not None or self._answers(), WAIT)
            assert child.poll() is None, child.last_line()
            yield child

    def _answers(self) -> bool:
        return all(listens(HOST, port) for port in (self.tls_port, self.plain_port))


def install(folder: Path, users: Sequence[str]) -> Broker:
    """The kit as its README installs it, but in this folder, on free loopback ports, as this user."""
    program = require("mosquitto")
    tls_port, plain_port = free_port(), free_port()
    places = {
        "/etc/mosquitto/": f"{folder}/",
        "/var/lib/mosquitto/": f"{folder}/",
        "listener 8883": f"listener {tls_port} {HOST}",
        "listener 1883 ": f"listener {plain_port} ",
    }
    config = (KIT / "mosquitto.conf").read_text()
    for installed, here in places.items():
        assert installed in config
        config = config.replace(installed, here)
    (folder / "mosquitto.conf").write_text(f"{config}user root\n")
    copy(KIT / "acl", folder)
    _certify(folder)
    (folder / "passwd").write_text("".join(f"{user}:{PASSWORD}\n" for user in users))
    subprocess.run(["mosquitto_passwd", "-U", folder / "passwd"], check=True)
    return Broker(folder, [program, "-c", folder / "mosquitto.conf"], tls_port, plain_port)


def _certify(folder: Path) -> None:
    """The broker's certificate and, as `ca.crt`, the authority that clients trust."""
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST, common_name="server")
    (folder / "certs").mkdir()
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    certificate.private_key_pem.write_to_path(str(folder / "certs/server.key"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "certs/server.crt"))


def listens(host: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


class Session:
    """A client, and what the broker told it."""

    def __init__(self, client_id: str) -> None:
        self.client = client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTv5)
        self.limits: Properties | None = None
        self.connected: Queue[tuple[int, Properties | None]] = Queue()
        self.disconnected: Queue[int] = Queue()
        self.published: Queue[int] = Queue()
        self.subscribed: Queue[int] = Queue()
        self.received: Queue[tuple[str, bytes]] = Queue()
        client.on_connect = lambda _c, _u, _f, code, given: self.connected.put((code.value, given))
        client.on_disconnect = lambda _c, _u, _f, code, _p: self.disconnected.put(code.value)
        client.on_publish = lambda _c, _u, _mid, code, _p: self.published.put(code.value)
        client.on_subscribe = lambda _c, _u, _mid, codes, _p: self.subscribed.put(codes[0].value)
        client.on_message = lambda _c, _u, message: self.received.put((message.topic, bytes(message.payload)))

    def publish(self, topic: str, payload: bytes = b"x") -> int:
        """The reason code that the broker answers with."""
        self.client.publish(topic, payload, qos=1)
        return self.published.get(timeout=WAIT)

    def subscribe(self, topic: str) -> None:
        self.client.subscribe(topic, qos=1)
        assert self.subscribed.get(timeout=WAIT) == 1, "granted QoS 1"

    def next(self) -> tuple[str, bytes]:
        """Topic and payload of the next message."""
        return self.received.get(timeout=WAIT)


@contextmanager
def connect(  # noqa: PLR0913  # the fields of a CONNECT packet
    broker: Broker,
    user: str | None,
    password: str = PASSWORD,
    *,
    expect: int = SUCCESS,
    client_id: str = "",
    will: str = "",
    durable: bool = False,
    tls: bool = True,
) -> Iterator[Session]:
    """A client that the broker answered with the reason code ``expect``."""
    session = Session(client_id)
    client = session.client
    client.username_pw_set(user, password)
    if tls:
        client.tls_set(str(broker.folder / "ca.crt"))
    if will:
        client.will_set(will, b"will", qos=1)
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 3600 if durable else 0
    port = broker.tls_port if tls else broker.plain_port
    client.connect(HOST, port, clean_start=not durable, properties=properties)
    client.loop_start()
    try:
        code, session.limits = session.connected.get(timeout=WAIT)
        assert code == expect
        yield session
    finally:
        client.disconnect()
        client.loop_stop()
