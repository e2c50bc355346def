"""A broker that is absent, lost or gone for good: results wait, bounded, and each loss is counted."""

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.broker import Broker, open_broker
from deploy.demo.processes import HOST, wait_until
from edge_node.config import Mqtt, Node
from edge_node.connection import Connection
from edge_node.identity import Identity
from edge_node.metrics import Meter
from edge_node.publisher import MqttPublisher
from protos.artifact import Artifact
from protos.result import Result
from tests.ledger import exposition, value
from tests.mqtt import PATIENCE, kill, restart, subscribed
from tests.nodes import started, write_config
from tests.results import numbered


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Broker]:
    """A broker that a test may kill."""
    folder = tmp_path / "broker"
    folder.mkdir()
    with open_broker(folder) as broker:
        yield broker


@pytest.fixture
def meter() -> Meter:
    return Meter()


@contextmanager
def publisher(broker: Broker, meter: Meter, *early: Result, **settings: Any) -> Iterator[MqttPublisher]:
    """Of node ``lab/a``, at work, some results published before."""
    mqtt = Mqtt(host=HOST, port=broker.port, **settings)
    connection = Connection(mqtt, Identity(Node(site="lab", name="a")), {}, meter)
    opened = MqttPublisher(connection, mqtt.max_queued, meter)
    for result in early:
        opened.publish(result)
    with connection:
        yield opened


def metric(meter: Meter, name: str, **labels: str) -> float:
    return value(exposition(meter.registry), name, **labels)


def connected(meter: Meter) -> bool:
    return metric(meter, "tidegate_mqtt_connected") == 1


def acknowledged(meter: Meter) -> bool:
    return metric(meter, "tidegate_queued_results") == 0


def test_a_broker_that_is_absent_at_start_gets_everything_once_it_is_there(
    mortal: Broker, meter: Meter
) -> None:
    kill(mortal)
    with publisher(mortal, meter) as opened:
        for result in numbered(50):
            opened.publish(result)
        assert metric(meter, "tidegate_queued_results") == 50
        restart(mortal)
        assert wait_until(lambda: acknowledged(meter), PATIENCE)
    assert metric(meter, "tidegate_dropped_results_total") == 0


def test_an_absent_broker_is_said_once(
    mortal: Broker, meter: Meter, caplog: pytest.LogCaptureFixture
) -> None:
    kill(mortal)
    with publisher(mortal, meter):
        assert wait_until(lambda: bool(caplog.messages), PATIENCE)
        restart(mortal)
        assert wait_until(lambda: connected(meter), PATIENCE)
    refused = f"broker {HOST}:{mortal.port} cannot be reached: [Errno 111] Connection refused"
    assert [it.getMessage() for it in caplog.records if it.levelno >= logging.WARNING] == [refused]


def test_what_waits_is_bounded_and_the_oldest_goes_first(broker: Broker, root: str, meter: Meter) -> None:
    sent = numbered(5)
    with (
        subscribed(broker, f"{root}/lab/a/result") as results,
        publisher(broker, meter, *sent, root=root, max_queued=3),
    ):
        assert metric(meter, "tidegate_dropped_results_total", reason="full") == 2
        assert results.results(3) == sent[2:]


def test_results_outlive_a_broker_that_is_killed_mid_run(mortal: Broker, meter: Meter) -> None:
    with publisher(mortal, meter) as opened:
        assert wait_until(lambda: connected(meter), PATIENCE)
        for result in numbered(200):
            opened.publish(result)
        kill(mortal)
        assert wait_until(lambda: not connected(meter), PATIENCE)
        for result in numbered(200):
            opened.publish(result)
        restart(mortal)
        assert wait_until(lambda: acknowledged(meter), PATIENCE)
    assert metric(meter, "tidegate_dropped_results_total") == 0


def test_a_node_is_announced_again_to_a_broker_that_forgot_it(mortal: Broker, meter: Meter) -> None:
    with publisher(mortal, meter):
        assert wait_until(lambda: connected(meter), PATIENCE)
        kill(mortal)
        restart(mortal)
        with subscribed(mortal, "tidegate/lab/a/status") as statuses:
            assert statuses.status()["state"] == "online"


def test_a_lost_broker_is_said_once(mortal: Broker, meter: Meter, caplog: pytest.LogCaptureFixture) -> None:
    with publisher(mortal, meter):
        assert wait_until(lambda: connected(meter), PATIENCE)
        kill(mortal)
        assert wait_until(lambda: len(caplog.messages) >= 2, PATIENCE)
        restart(mortal)
        assert wait_until(lambda: connected(meter), PATIENCE)
    said = [
        it.getMessage().split(f"{mortal.port} ")[1] for it in caplog.records if it.levelno >= logging.WARNING
    ]
    assert [words.split(":")[0] for words in said] == ["is lost", "cannot be reached"]


def test_stopping_with_the_broker_gone_counts_what_is_lost(
    mortal: Broker, meter: Meter, caplog: pytest.LogCaptureFixture
) -> None:
    kill(mortal)
    with publisher(mortal, meter, flush=0.1) as opened:
        for result in numbered(7):
            opened.publish(result)
    assert metric(meter, "tidegate_dropped_results_total", reason="stopped") == 7
    assert "7 results were not acknowledged by the broker, and are lost" in caplog.messages


def test_stopping_waits_for_a_broker_that_is_on_its_way_back(mortal: Broker, meter: Meter) -> None:
    kill(mortal)
    with publisher(mortal, meter, *numbered(7), flush=PATIENCE):
        restart(mortal)
    assert metric(meter, "tidegate_dropped_results_total") == 0


def test_a_broker_that_hangs_does_not_hold_up_the_end(mortal: Broker, meter: Meter) -> None:
    with publisher(mortal, meter, flush=0.2) as opened:
        assert wait_until(lambda: connected(meter), PATIENCE)
        os.kill(mortal.process.pid, signal.SIGSTOP)
        for result in numbered(7):
            opened.publish(result)
    os.kill(mortal.process.pid, signal.SIGCONT)
    assert metric(meter, "tidegate_dropped_results_total", reason="stopped") == 7


def test_the_last_will_of_a_killed_node_names_its_session(
    broker: Broker, root: str, tmp_path: Path, artifact: Artifact
) -> None:
    mqtt = {"host": HOST, "port": broker.port, "root": root}
    config = write_config(tmp_path, artifact, source={"kind": "stdin"}, mqtt=mqtt)
    with subscribed(broker, f"{root}/lab/a/status") as statuses, started(tmp_path, config) as node:
        birth = statuses.status()
        node.signal(signal.SIGKILL)
        node.wait()
        will = statuses.get()
    assert birth["model"]["sha256"] == artifact.sha256
    assert will.payload == b'{"schema":"tidegate.status/1","state":"offline","session":%d}' % birth["session"]
