"""What the demo hears: each result once, and nothing that is not one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from deploy.demo.broker import Broker, open_broker
from deploy.demo.collect import Collector, NodeId
from deploy.demo.processes import wait_until
from protos import result as contract
from protos.result import Latency, Model, Reason, Result

WAIT = 60.0
NODE = NodeId("hybrid", "one")
RESULT = Result(
    id="hybrid.one.1.0",
    site=NODE.site,
    node=NODE.name,
    seq=0,
    sample="0",
    captured_at=datetime.now(UTC),
    route="edge",
    reason=Reason.EDGE_ONLY,
    label="red",
    class_index=0,
    confidence=0.5,
    edge=None,
    cloud=None,
    model=Model(name="edge", version="1", precision="int8", sha256="0" * 64),
    latency_ms=Latency(edge=1.0, cloud=None, total=1.0),
)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with open_broker(tmp_path) as broker:
        yield broker


@contextmanager
def heard(broker: Broker) -> Iterator[tuple[Collector, Callable[[str, bytes], None]]]:
    """A collector, and a way to publish that waits until the broker has the message."""
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
    client.connect(broker.host, broker.port)
    client.loop_start()
    with Collector(broker) as collector:
        yield collector, lambda topic, body: client.publish(topic, body, qos=1).wait_for_publish(WAIT)
    client.disconnect()
    client.loop_stop()


def test_a_result_that_is_delivered_twice_counts_once(broker: Broker) -> None:
    another = msgspec.structs.replace(RESULT, id="hybrid.one.1.1")
    with heard(broker) as (collector, publish):
        for result in (RESULT, RESULT, another):
            publish("tidegate/hybrid/one/result", contract.encode(result))
        assert wait_until(lambda: another in collector.results(NODE), WAIT)
        assert collector.results(NODE) == [RESULT, another]
        assert collector.invalid() == []


@pytest.mark.parametrize(
    ("topic", "payload", "problem"),
    [
        ("tidegate/hybrid/one/result", b"no JSON", "malformed"),
        ("tidegate/hybrid/one/result", b"{}", "missing required field"),
        ("tidegate/hybrid/two/result", contract.encode(RESULT), "the result is of hybrid/one"),
        ("tidegate/hybrid/one/status", b"[]", "status"),
        ("tidegate/hybrid", b"", "tidegate/hybrid"),
    ],
)
def test_what_is_no_result_is_told_with_its_topic(
    broker: Broker, topic: str, payload: bytes, problem: str
) -> None:
    with heard(broker) as (collector, publish):
        publish(topic, payload)
        assert wait_until(lambda: bool(collector.invalid()), WAIT)
        assert problem in collector.invalid()[0]
        assert topic in collector.invalid()[0]
        assert not collector.results(NODE)


def test_birth_and_last_will_say_whether_a_node_is_there(broker: Broker) -> None:
    with heard(broker) as (collector, publish):
        publish("tidegate/hybrid/one/status", b'{"state": "online", "session": 1}')
        assert wait_until(lambda: collector.online(NODE), WAIT)
        publish("tidegate/hybrid/one/status", b'{"state": "offline", "session": 1}')
        assert wait_until(lambda: not collector.online(NODE), WAIT)
