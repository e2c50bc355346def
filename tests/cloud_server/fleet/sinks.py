"""Sinks in this process and in one of their own, and a device that sends until it has been confirmed."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from cloud_server.config import Fleet, Mqtt
from cloud_server.fleet.sink import Sink
from cloud_server.fleet.store import Store
from cloud_server.metrics import Meter
from deploy.demo.broker import Broker
from deploy.demo.processes import Child, wait_until
from protos import ack
from tests import mqtt
from tests.cloud_server.fleet import rows
from tests.mqtt import PATIENCE

SILENCE = 1.0
"""Seconds without a word after which a device sends again."""
LONG = 90.0
"""Seconds for a stream that is interrupted again and again, on a busy machine."""


def fleet(broker: Broker, root: str, database: str, *, client_id: str = "", **changes: Any) -> Fleet:
    """Settings of a sink with a session of its own at the broker."""
    told = Mqtt(host=broker.host, port=broker.port, root=root, client_id=client_id or f"{root}-sink")
    return Fleet(mqtt=told, database=database, **changes)


@contextmanager
def sinking(settings: Fleet, kind: type[Sink] = Sink, store: type[Store] = Store) -> Iterator[Meter]:
    """A sink that has its subscription."""
    meter = Meter()
    with closing(store.open(settings)) as opened, kind(settings, opened, meter):
        assert wait_until(lambda: value(meter, "tidegate_fleet_broker_connected") == 1, PATIENCE)
        yield meter


def value(meter: Meter, name: str, **labels: str) -> float:
    return meter.registry.get_sample_value(name, labels) or 0.0


def stored(meter: Meter) -> float:
    return value(meter, "tidegate_stored_results_total")


def floor(number: int) -> Properties:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.UserProperty = ("floor", str(number))
    return properties


@contextmanager
def process(settings: Fleet, folder: Path, script: Sequence[str] = ()) -> Iterator[Child]:
    """``cloud-server run`` with these settings and nothing else; it may still be starting."""
    folder.mkdir(exist_ok=True)
    config = folder / "cloud.toml"
    config.write_text(
        f'fleet.database = "{settings.database}"\n'
        f'fleet.mqtt = {{ host = "{settings.mqtt.host}", port = {settings.mqtt.port}, '
        f'root = "{settings.mqtt.root}", client_id = "{settings.mqtt.client_id}" }}\n'
        "metrics.port = 0\n" + (f'fleet.group = "{settings.group}"\n' if settings.group else "")
    )
    command = [*(script or ("-m", "cloud_server")), "run", "--config", str(config)]
    with Child("sink", [sys.executable, *command], folder / "log") as child:
        yield child


class Device:
    """Sends rows, again if need be, until the sink's word is that all are stored: a small outbox."""

    def __init__(self, broker: Broker, root: str, most: int = 100_000, node: str = "a") -> None:
        self._broker, self._node, self._most = broker, node, most
        self._topic, self._ack = f"{root}/lab/{node}/result", f"{root}/lab/{node}/ack"
        self.enough = Event()
        """Set it to end a stream before its last row."""
        self.sent = 0
        self.confirmed = -1
        self._moved = Event()

    @property
    def ids(self) -> list[str]:
        """Of all that was sent."""
        return [f"lab.{self._node}.7.{seq}" for seq in range(self.sent)]

    def deliver(self, patience: float = LONG, pace: float = 0.0) -> None:
        """Send a row every ``pace`` seconds, then send again what is not confirmed, until all is."""
        with self._connected() as client:
            while self.sent < self._most and not self.enough.is_set():
                self._send(client, self.sent)
                self.sent += 1
                time.sleep(pace)
            deadline = time.monotonic() + patience
            while self.confirmed < self.sent - 1:
                assert time.monotonic() < deadline, f"confirmed up to {self.confirmed} of {self.sent}"
                if not self._moved.wait(SILENCE):
                    for seq in range(self.confirmed + 1, self.sent):
                        self._send(client, seq)
                self._moved.clear()

    def _send(self, client: Client, seq: int) -> None:
        client.publish(self._topic, rows.payload(seq, node=self._node), qos=1)

    @contextmanager
    def _connected(self) -> Iterator[Client]:
        client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        client.reconnect_delay_set(0.05, 0.2)  # type: ignore[arg-type] # paho takes fractions, too
        client.on_connect = lambda client, *_: client.subscribe(self._ack, qos=1)
        client.on_message = self._heard
        client.connect(self._broker.host, self._broker.port)
        client.loop_start()
        try:
            yield client
        finally:
            client.disconnect()
            client.loop_stop()
            client.on_message = None

    def _heard(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        heard = ack.decode(bytes(message.payload))
        if heard.stream == 7 and heard.seq > self.confirmed:
            self.confirmed = heard.seq
            self._moved.set()


def send(broker: Broker, topic: str, messages: Sequence[tuple[bytes, int | None]]) -> None:
    """Messages and their floors, each acknowledged by the broker."""
    with mqtt.connected(mqtt.client(), broker) as client:
        sent = [
            client.publish(topic, payload, qos=1, properties=None if lowest is None else floor(lowest))
            for payload, lowest in messages
        ]
        for info in sent:
            info.wait_for_publish(PATIENCE)


def until(condition: Callable[[], bool]) -> None:
    assert wait_until(condition, PATIENCE)
