"""Both brokers, the same promises: each test runs on every broker that is on this machine."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from deploy.demo import broker as brokers
from deploy.demo.broker import Broker, open_broker
from deploy.demo.errors import DemoError
from deploy.demo.processes import Child, wait_until
from tests.services import require

WAIT = 60.0


@pytest.fixture(params=["mosquitto", "iotcore"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Broker]:
    if request.param == "mosquitto":
        require("mosquitto")
    with open_broker(tmp_path, request.param) as broker:
        yield broker


@contextmanager
def connected(broker: Broker, topic: str | None = None) -> Iterator[tuple[Client, "Queue[MQTTMessage]"]]:
    """A client, subscribed to `topic` when there is one, and the queue of what it receives."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    received: Queue[MQTTMessage] = Queue()
    granted: Queue[int] = Queue()
    client.on_message = lambda _client, _data, message: received.put(message)
    client.on_subscribe = lambda _client, _data, _mid, codes, _properties: granted.put(codes[0].value)
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        assert wait_until(client.is_connected, WAIT)
        if topic:
            client.subscribe(topic, qos=1)
            assert granted.get(timeout=WAIT) == 1, "the granted QoS, an MQTT 5 reason code"
        yield client, received
    finally:
        client.disconnect()
        client.loop_stop()


def test_qos_1_messages_arrive_once_and_in_order(broker: Broker) -> None:
    sent = [f"{number}".encode() for number in range(200)]
    with connected(broker, "demo/#") as (_, received), connected(broker) as (publisher, _unused):
        for payload in sent:
            publisher.publish("demo/result", payload, qos=1)
        assert [received.get(timeout=WAIT).payload for _ in sent] == sent
        assert received.empty()


def test_a_retained_message_waits_for_the_subscriber(broker: Broker) -> None:
    with connected(broker) as (publisher, _):
        publisher.publish("demo/status", b"online", qos=1, retain=True).wait_for_publish(WAIT)
    with connected(broker, "demo/#") as (_, received):
        message = received.get(timeout=WAIT)
    assert (message.payload, message.retain) == (b"online", True)


LAST_WILL_CLIENT = """
import sys, time
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
client.will_set("demo/status", b"offline", qos=1, retain=True)
client.on_connect = lambda *_: client.publish("demo/status", b"online", qos=1, retain=True)
client.connect("127.0.0.1", int(sys.argv[1]))
client.loop_forever()
"""


def test_the_last_will_speaks_when_a_client_is_killed(broker: Broker, tmp_path: Path) -> None:
    command = [sys.executable, "-c", LAST_WILL_CLIENT, str(broker.port)]
    with (
        connected(broker, "demo/status") as (_, received),
        Child("client", command, tmp_path / "client.log") as client,
    ):
        assert received.get(timeout=WAIT).payload == b"online"
        os.kill(client.pid, signal.SIGKILL)
        assert received.get(timeout=WAIT).payload == b"offline"


def test_mqtt_5_properties_travel(broker: Broker) -> None:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ContentType = "application/json"
    properties.UserProperty = ("traceparent", "00-1-2-01")
    with connected(broker, "demo/#") as (_, received), connected(broker) as (publisher, _unused):
        publisher.publish("demo/result", b"{}", qos=1, properties=properties)
        arrived = received.get(timeout=WAIT).properties
    assert str(arrived) == str(properties)


def test_a_payload_of_one_mebibyte_arrives_whole(broker: Broker) -> None:
    payload = os.urandom(1 << 20)
    with connected(broker, "demo/#") as (_, received), connected(broker) as (publisher, _unused):
        publisher.publish("demo/image", payload, qos=1)
        assert received.get(timeout=WAIT).payload == payload


@pytest.mark.parametrize("kind", brokers.installed())
def test_stopping_leaves_no_process(tmp_path: Path, kind: str) -> None:
    with open_broker(tmp_path, kind) as broker:
        assert alive(broker.process.pid)
    assert not alive(broker.process.pid)


@pytest.mark.parametrize("kind", brokers.installed())
def test_a_broker_does_not_outlive_a_killed_owner(tmp_path: Path, kind: str) -> None:
    owner = """
import sys, time
from pathlib import Path
from deploy.demo.broker import open_broker
with open_broker(Path(sys.argv[1]), sys.argv[2]) as broker:
    print(broker.process.pid, flush=True)
    time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", owner, str(tmp_path), kind], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        assert alive(pid)
        process.kill()
    assert wait_until(lambda: not alive(pid), WAIT)


def test_a_broker_that_cannot_start_is_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "mosquitto"
    broken.write_text("#!/bin/sh\necho 'cannot open shared object'\nexit 127\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with (
        pytest.raises(DemoError, match="mosquitto broker ended at start: cannot open"),
        open_broker(tmp_path),
    ):
        pass


def test_no_broker_at_all_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brokers, "installed", list)
    with pytest.raises(DemoError, match="install mosquitto"), open_broker(tmp_path):
        pass


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
