"""What a subscriber sees of a node, and a broker that can be lost."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from typing import Any

import msgspec
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from deploy.demo.broker import Broker
from deploy.demo.processes import HOST, Child, wait_until
from protos import result as contract
from protos.result import Result
from tests.ports import free_port
from tests.services import require

PATIENCE = 60.0
"""Seconds; only something broken needs them, or a node that looks for its broker again only after 30."""


class Inbox:
    """Messages in the order of their arrival."""

    def __init__(self) -> None:
        self.messages: Queue[MQTTMessage] = Queue()

    def get(self) -> MQTTMessage:
        return self.messages.get(timeout=PATIENCE)

    def status(self) -> dict[str, Any]:
        """The next message, as JSON."""
        body: dict[str, Any] = msgspec.json.decode(self.get().payload)
        return body

    def results(self, count: int) -> list[Result]:
        """The next messages, as results."""
        return [contract.decode(bytes(self.get().payload)) for _ in range(count)]


def client() -> Client:
    return Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)


@contextmanager
def subscribed(broker: Broker, topic: str) -> Iterator[Inbox]:
    """What arrives under a topic filter, from now on."""
    inbox, subscriber = Inbox(), client()
    granted: Queue[int] = Queue()
    subscriber.on_message = lambda _client, _data, message: inbox.messages.put(message)
    subscriber.on_subscribe = lambda _client, _data, _mid, codes, _properties: granted.put(codes[0].value)
    with connected(subscriber, broker):
        subscriber.subscribe(topic, qos=1)
        assert granted.get(timeout=PATIENCE) == 1, "the granted QoS, an MQTT 5 reason code"
        yield inbox


@contextmanager
def connected(client: Client, broker: Broker) -> Iterator[Client]:
    """The client at work on a connection."""
    client.connect(HOST, broker.port)
    client.loop_start()
    try:
        assert wait_until(client.is_connected, PATIENCE)
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def publish(broker: Broker, topic: str, payload: bytes, *, retain: bool = False) -> None:
    """One message, acknowledged."""
    with connected(client(), broker) as publisher:
        publisher.publish(topic, payload, qos=1, retain=retain).wait_for_publish(PATIENCE)


def kill(broker: Broker) -> None:
    """End the broker as a power cut would."""
    os.kill(broker.process.pid, signal.SIGKILL)
    broker.process.wait(PATIENCE)


def restart(broker: Broker) -> None:
    """Start a killed broker again, on its old port; it remembers nothing."""
    broker.process.__enter__()
    assert wait_until(lambda: _answers(broker), PATIENCE)


@contextmanager
def mosquitto(folder: Path, *lines: str) -> Iterator[Broker]:
    """A Mosquitto with these lines of configuration and its own defaults; its log has every connection."""
    program = require("mosquitto")
    config, port = folder / "mosquitto.conf", free_port()
    # `user root`: a change of user would undo the kernel's promise to end the broker with this process
    config.write_text("\n".join((f"listener {port} {HOST}", "user root", "log_type all", *lines)))
    with Child("broker", [program, "-c", config], folder / "broker.log") as process:
        assert wait_until(lambda: "running" in process.log.read_text(), PATIENCE), process.log.read_text()
        yield Broker("mosquitto", HOST, port, process)


def _answers(broker: Broker) -> bool:
    probe = client()
    try:
        probe.connect(HOST, broker.port)
        probe.loop(timeout=1.0)
    except OSError:
        return False
    accepted = probe.is_connected()
    probe.disconnect()
    return accepted
