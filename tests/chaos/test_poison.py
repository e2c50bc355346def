"""What no broker or sink will take, among 10,000 results that they will: it is put aside, with its reason."""

import logging
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from paho.mqtt.client import Client

from deploy.demo.broker import Broker
from deploy.demo.processes import HOST, wait_until
from edge_node.outbox import Row
from tests.chaos.sink_stand import LONG, sink
from tests.mqtt import client, mosquitto
from tests.publishing import Publishing, publishing

GOOD, EACH = 10_000, 10
LARGEST = 4096
"""Bytes of a packet that the broker takes."""
DENIED = "topic read #\ntopic write +/+/+/status\ntopic write +/+/+/ack\n"
ALLOWED = "topic readwrite #\n"


def rule(broker: Broker, acl: Path, rules: str) -> None:
    """From now on the broker goes by these."""
    acl.write_text(rules)
    before = reloads(broker)
    os.kill(broker.process.pid, signal.SIGHUP)
    assert wait_until(lambda: reloads(broker) > before, LONG)


def reloads(broker: Broker) -> int:
    return broker.process.log.read_text().count("Reloading config")


def malform(node: Publishing) -> None:
    """A row that says nothing a sink could read, as no node makes it."""
    with node.outbox._lock:
        node.outbox._pending.rows.append(Row(node._next, b'{"schema":"tidegate.result/1",'))
        node.outbox._last = node._next
    node._next += 1


def publish(node: Publishing) -> None:
    """The good, in parts, and between them what is too large and what is malformed."""
    for _ in range(EACH):
        node.publish(GOOD // EACH // 2)
        node.publish(1, sample="x" * LARGEST)
        node.publish(GOOD // EACH // 2)
        malform(node)


def reasons(node: Publishing) -> Counter[str]:
    """Dead letters by the first words of their reasons."""
    return Counter(reason.split(":")[0] for reason in node.reasons())


def connections(caplog: pytest.LogCaptureFixture) -> int:
    return sum("is connected" in message for message in caplog.messages)


def test_what_nobody_takes_is_put_aside_and_all_else_arrives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    acl = tmp_path / "acl"
    acl.write_text(ALLOWED)
    lines = (
        "allow_anonymous true",
        f"max_packet_size {LARGEST}",
        f"acl_file {acl}",
        "max_queued_messages 20000",
    )
    with (
        mosquitto(tmp_path, *lines) as broker,
        sink(broker, tmp_path) as stand,
        publishing(broker.port, tmp_path, outbox={"confirm": "sink"}) as node,
    ):
        publish(node)
        assert wait_until(lambda: stand.count("a") == GOOD, LONG)
        rule(broker, acl, DENIED)
        node.publish(EACH)
        assert wait_until(lambda: reasons(node)["the broker refuses it"] == EACH, LONG)
        rule(broker, acl, ALLOWED)
        node.publish(1)
        assert node.empty(LONG)
        assert stand.count("a") == GOOD + 1
        assert reasons(node) == {"too large": EACH, "it cannot be read": EACH, "the broker refuses it": EACH}
    assert connections(caplog) == 1


def naive(port: int, payloads: list[bytes]) -> tuple[int, int]:
    """Payloads that a client of paho's own gets acknowledged in a while; how often it connects meanwhile."""
    connects, acknowledged = [], []
    plain: Client = client()
    plain.on_connect = lambda *_: connects.append(1)
    plain.on_publish = lambda *_: acknowledged.append(1)
    plain.reconnect_delay_set(1, 1)
    plain.connect(HOST, port)
    plain.loop_start()
    for payload in payloads:
        plain.publish("x", payload, qos=1)
    wait_until(lambda: len(connects) > 3, LONG)
    plain.disconnect()
    plain.loop_stop()
    return len(acknowledged), len(connects)


def test_without_that_one_result_too_large_holds_up_all(tmp_path: Path) -> None:
    """The negative: what paho makes of the same broker."""
    with mosquitto(tmp_path, "allow_anonymous true", f"max_packet_size {LARGEST}") as broker:
        acknowledged, connects = naive(broker.port, [b"x" * LARGEST, *[b"good"] * 5])
    assert acknowledged == 0
    assert connects > 3
