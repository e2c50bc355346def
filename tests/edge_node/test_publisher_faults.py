"""A broker that is absent, lost or gone for good: results wait in the outbox, and none is lost."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.demo.broker import Broker, open_broker
from deploy.demo.processes import HOST, wait_until
from edge_node.broker import connection
from edge_node.broker.connection import WINDOW
from protos.artifact import Artifact
from tests.mqtt import PATIENCE, kill, restart, subscribed
from tests.nodes import started, write_config
from tests.publishing import publishing

CONTENT = {"unheard": "confirm"}
"""For tests without a subscriber."""


@pytest.fixture
def mortal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Broker]:
    """A broker that a test may kill, and nodes that look for it more often than is good for many of them."""
    monkeypatch.setattr(connection, "BACK_OFF", (0.1, 1.0))
    folder = tmp_path / "broker"
    folder.mkdir()
    with open_broker(folder) as broker:
        yield broker


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [it.getMessage() for it in caplog.records if it.levelno >= logging.WARNING]


def test_a_broker_that_is_absent_at_start_gets_everything_once_it_is_there(
    mortal: Broker, tmp_path: Path
) -> None:
    kill(mortal)
    with publishing(mortal.port, tmp_path, outbox=CONTENT) as node:
        node.publish(50)
        assert not node.empty(patience=0.1)
        restart(mortal)
        assert node.empty()


def test_an_absent_broker_is_said_once(
    mortal: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kill(mortal)
    with publishing(mortal.port, tmp_path) as node:
        assert wait_until(lambda: bool(caplog.messages), PATIENCE)
        restart(mortal)
        assert node.connected()
    refused = f"broker {HOST}:{mortal.port} cannot be reached: [Errno 111] Connection refused"
    assert warnings(caplog) == [refused]


def test_results_outlive_a_broker_that_is_killed_mid_run(mortal: Broker, tmp_path: Path) -> None:
    with publishing(mortal.port, tmp_path, outbox=CONTENT) as node:
        assert node.connected()
        node.publish(200)
        kill(mortal)
        assert node.lost()
        node.publish(200)
        restart(mortal)
        assert node.empty()


def test_results_outlive_the_node_s_own_end(mortal: Broker, tmp_path: Path) -> None:
    kill(mortal)
    with publishing(mortal.port, tmp_path, flush=0) as node:
        sent = node.publish(50)
    restart(mortal)
    with (
        subscribed(mortal, "tidegate/lab/a/result") as inbox,
        publishing(mortal.port, tmp_path) as later,
    ):
        assert [it.id for it in inbox.results(50)] == [it.id for it in sent]
        assert later.outbox.session > node.outbox.session
        assert later.outbox.next_seq == 50


def test_a_node_is_announced_again_to_a_broker_that_forgot_it(mortal: Broker, tmp_path: Path) -> None:
    with publishing(mortal.port, tmp_path) as node:
        assert node.connected()
        kill(mortal)
        restart(mortal)
        with subscribed(mortal, "tidegate/lab/a/status") as statuses:
            assert statuses.status()["state"] == "online"


def test_a_lost_broker_is_said_once(mortal: Broker, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with publishing(mortal.port, tmp_path) as node:
        assert node.connected()
        kill(mortal)
        assert wait_until(lambda: len(caplog.messages) >= 2, PATIENCE)
        restart(mortal)
        assert node.connected()
    said = [words.split(f"{mortal.port} ")[1].split(":")[0] for words in warnings(caplog)]
    assert said == ["is lost", "cannot be reached"]


def test_stopping_with_the_broker_gone_leaves_results_in_the_outbox(mortal: Broker, tmp_path: Path) -> None:
    kill(mortal)
    with publishing(mortal.port, tmp_path, flush=0.1) as node:
        node.publish(7)
    with publishing(mortal.port, tmp_path, flush=0.1) as later:
        assert [row.seq for row in later.outbox.rows(-1, 100)] == list(range(7))


def test_stopping_waits_for_a_broker_that_is_on_its_way_back(mortal: Broker, tmp_path: Path) -> None:
    kill(mortal)
    with publishing(mortal.port, tmp_path, 7, flush=PATIENCE, outbox=CONTENT) as node:
        restart(mortal)
    assert node.outbox.floor() == 7


def test_a_broker_that_hangs_does_not_hold_up_the_end(mortal: Broker, tmp_path: Path) -> None:
    with publishing(mortal.port, tmp_path, flush=0.2) as node:
        assert node.connected()
        os.kill(mortal.process.pid, signal.SIGSTOP)
        node.publish(2 * WINDOW)
    os.kill(mortal.process.pid, signal.SIGCONT)
    with publishing(mortal.port, tmp_path, outbox=CONTENT) as later:
        assert later.empty()


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
