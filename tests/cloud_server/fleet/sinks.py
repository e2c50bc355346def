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

    def __init__(self, broker: Broker, root: str, count: int, node: str = "a") -> None:
        self.ids = [f"lab.{node}.7.{seq}" for seq in range(count)]
        self._broker, self._last = broker, count - 1
        self._payloads = [rows.payload(seq, node=node) for seq in range(count)]
        self._topic, self._ack = f"{root}/lab/{node}/result", f"{root}/lab/{node}/ack"
        self.confirmed = -1
        self._moved = Event()

    def deliver(self, patience: float = LONG, pace: float = 0.0) -> None:
        """Return when everything is confirmed."""
        deadline = time.monotonic() + patience
        with self._connected() as client:
            while self.confirmed < self._last:
                assert time.monotonic() < deadline, f"confirmed up to {self.confirmed} of {self._last}"
                for payload in self._payloads[self.confirmed + 1 :]:
                    client.publish(self._topic, payload, qos=1)
                    time.sleep(pace)
                while self.confirmed < self._last and self._moved.wait(1.0):
                    self._moved.clear()

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
