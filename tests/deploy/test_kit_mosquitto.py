"""`deploy/mosquitto` in a real broker: who may speak for whom, and what a kill of the broker costs."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from deploy.demo.processes import HOST
from tests.deploy.fleet_broker import SUCCESS, WAIT, Broker, connect, install, listens

NO_SUBSCRIBER, NOT_AUTHORIZED = 0x10, 0x87
SHORTER, LONGER = "lab", "lab/b/result"
WILDCARDS = ("+", "+/+", "lab/+", "+/b", "lab/#", "$SYS/#")
USERS = (
    "fleet",
    "sink",
    "sink-2",
    "watch",
    "labels",
    "lab/a",
    "lab/b",
    "plant/a",
    SHORTER,
    LONGER,
    *WILDCARDS,
)

# MQTT 5 CONNECT with a clean start, a keep-alive of 60 s, no properties and the client id `x`.
RAW_CONNECT = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01x"
CONNACK = b"\x20"


@pytest.fixture
def kit(tmp_path: Path) -> Broker:
    return install(tmp_path, USERS)


@pytest.fixture
def broker(kit: Broker) -> Iterator[Broker]:
    with kit.running():
        yield kit


def test_a_node_publishes_what_is_its_own_and_reads_its_ack(broker: Broker) -> None:
    with connect(broker, "sink") as sink, connect(broker, "fleet") as fleet, connect(broker, "lab/a") as node:
        fleet.subscribe("tidegate/#")
        node.subscribe("tidegate/lab/a/ack")
        for topic in ("tidegate/lab/a/status", "tidegate/lab/a/result", "tidegate/lab/a/metrics"):
            assert node.publish(topic) == SUCCESS
            assert fleet.next() == (topic, b"x")
        assert sink.publish("tidegate/lab/a/ack", b"7") == SUCCESS
        assert node.next() == ("tidegate/lab/a/ack", b"7")


def test_who_knows_the_truth_may_tell_it_and_nothing_else(broker: Broker) -> None:
    with connect(broker, "labels") as labels, connect(broker, "lab/a") as node:
        node.subscribe("tidegate/lab/a/label")
        assert labels.publish("tidegate/lab/a/label", b"[]") == SUCCESS
        assert node.next() == ("tidegate/lab/a/label", b"[]")
        assert labels.publish("tidegate/lab/a/ack") == NOT_AUTHORIZED


@pytest.mark.parametrize(
    "topic",
    [
        "tidegate/lab/b/status",
        "tidegate/lab/b/result",
        "tidegate/lab/b/metrics",
        "tidegate/plant/a/result",
        "tidegate/lab/a/ack",
        "tidegate/lab/a/label",
        "tidegate/lab/a/result/more",
        "tidegate/lab/a",
        "lab/a/result",
        "$SYS/broker/version",
    ],
)
def test_a_node_cannot_publish_anything_else(broker: Broker, topic: str) -> None:
    with connect(broker, "lab/a") as node:
        assert node.publish(topic) == NOT_AUTHORIZED


@pytest.mark.parametrize(
    ("user", "leaf"), [("fleet", "result"), ("fleet", "ack"), ("sink", "result"), ("watch", "ack")]
)
def test_a_reader_of_the_fleet_cannot_speak_for_nodes_or_sinks(broker: Broker, user: str, leaf: str) -> None:
    with connect(broker, user) as reader:
        assert reader.publish(f"tidegate/lab/a/{leaf}") == NOT_AUTHORIZED


def test_a_node_reads_nothing_of_another(broker: Broker) -> None:
    with (
        connect(broker, "sink") as sink,
        connect(broker, "lab/b") as other,
        connect(broker, "lab/a") as node,
    ):
        for topic in ("#", "tidegate/#", "tidegate/lab/b/+", "tidegate/lab/b/result"):
            node.subscribe(topic)
        assert other.publish("tidegate/lab/b/result") == SUCCESS
        assert sink.publish("tidegate/lab/b/ack") == SUCCESS
        sink.publish("tidegate/lab/a/ack", b"the first to arrive")
        assert node.next() == ("tidegate/lab/a/ack", b"the first to arrive")


@pytest.mark.parametrize("user", [*WILDCARDS, SHORTER, LONGER])
def test_no_user_name_is_an_escape(broker: Broker, user: str) -> None:
    with connect(broker, "sink") as fleet, connect(broker, user) as intruder:
        fleet.subscribe("tidegate/#")
        intruder.subscribe("tidegate/#")
        for leaf in ("status", "result", "metrics", "ack"):
            assert intruder.publish(f"tidegate/lab/b/{leaf}") == NOT_AUTHORIZED
            assert fleet.publish("tidegate/lab/b/ack", leaf.encode()) == SUCCESS
        assert [fleet.next()[1] for _ in range(4)] == [b"status", b"result", b"metrics", b"ack"]
    assert intruder.received.empty()


@pytest.mark.parametrize(
    ("joined", "swallowed"),
    [
        ("$share/sinks/tidegate/+/+/result", 10),
        ("$share/guess/tidegate/+/+/result", 0),
        ("$share/sinks/tidegate/#", 0),
    ],
)
def test_a_device_takes_results_only_from_a_group_whose_name_it_knows(
    broker: Broker, joined: str, swallowed: int
) -> None:
    with (
        connect(broker, "sink") as sink,
        connect(broker, "lab/b") as thief,
        connect(broker, "lab/a") as node,
    ):
        sink.subscribe("$share/sinks/tidegate/+/+/result")
        thief.subscribe(joined)
        for _ in range(20):
            assert node.publish("tidegate/lab/a/result") == SUCCESS
        for _ in range(20 - swallowed):
            sink.next()
        assert sink.received.empty()
    assert thief.received.empty()


def test_a_last_will_speaks_only_for_its_own_node(broker: Broker) -> None:
    with connect(broker, "fleet") as fleet:
        fleet.subscribe("tidegate/#")
        for topic in ("tidegate/lab/b/status", "tidegate/lab/a/status"):
            with connect(broker, "lab/a", will=topic) as node:
                node.client.disconnect(ReasonCode(PacketTypes.DISCONNECT, "Disconnect with will message"))
                node.disconnected.get(timeout=WAIT)
        assert fleet.next() == ("tidegate/lab/a/status", b"will")


def test_a_borrowed_client_id_throws_nobody_off(broker: Broker) -> None:
    with connect(broker, "lab/b", client_id="b") as victim, connect(broker, "lab/a", client_id="b"):
        assert victim.publish("tidegate/lab/b/result") in {SUCCESS, NO_SUBSCRIBER}
        assert victim.disconnected.empty()


def test_a_wrong_password_is_refused(broker: Broker) -> None:
    with connect(broker, "lab/a", "wrong", expect=NOT_AUTHORIZED):
        pass


@pytest.mark.parametrize("user", ["lab/c", None])
def test_an_unknown_user_is_refused(broker: Broker, user: str | None) -> None:
    with connect(broker, user, expect=NOT_AUTHORIZED):
        pass


def answer(port: int) -> bytes:
    """What the broker says to an unencrypted CONNECT without a password: nothing, if it hangs up."""
    with socket.create_connection((HOST, port), WAIT) as connection, suppress(ConnectionResetError):
        connection.sendall(RAW_CONNECT)
        return connection.recv(1024)
    return b""


def test_port_8883_speaks_to_nobody_unencrypted(broker: Broker) -> None:
    assert not answer(broker.tls_port).startswith(CONNACK)


def test_port_1883_wants_a_password_too(broker: Broker) -> None:
    refusal = answer(broker.plain_port)
    assert (refusal[:1], refusal[3]) == (CONNACK, NOT_AUTHORIZED)
    with connect(broker, "sink", tls=False) as one, connect(broker, "sink", tls=False) as other:
        assert one.publish("tidegate/lab/a/ack") == other.publish("tidegate/lab/a/ack") == NO_SUBSCRIBER


def test_port_1883_is_on_loopback_only(broker: Broker) -> None:
    assert listens(HOST, broker.plain_port)
    assert not listens("127.0.0.2", broker.plain_port)


def test_clients_are_told_the_largest_packet(broker: Broker) -> None:
    with connect(broker, "lab/a") as node:
        assert getattr(node.limits, "MaximumPacketSize", None) == 65536


def test_what_waits_for_a_reader_survives_a_kill_of_the_broker(kit: Broker) -> None:
    sent = [b"%d" % number for number in range(1000)]
    with kit.running() as process:
        with connect(kit, "fleet", client_id="sink", durable=True) as reader:
            reader.subscribe("tidegate/+/+/result")
        with connect(kit, "lab/a") as node:
            for payload in sent:
                node.client.publish("tidegate/lab/a/result", payload, qos=1)
            assert [node.published.get(timeout=WAIT) for _ in sent] == [SUCCESS] * len(sent)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(WAIT)
    promised = sent[: len(sent) - 101]
    with kit.running(), connect(kit, "fleet", client_id="sink", durable=True) as reader:
        assert [reader.next()[1] for _ in promised] == promised
