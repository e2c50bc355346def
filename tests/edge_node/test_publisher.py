"""Results on their way to a broker that is there: announced, in order, confirmed, and a clean goodbye."""

import logging
from pathlib import Path
from typing import Any

import pytest
import trustme

from deploy.demo.broker import Broker, installed, open_broker
from deploy.demo.processes import HOST, wait_until
from edge_node.broker.connection import WINDOW, Connection
from edge_node.config import Mqtt, Node, Tls
from edge_node.errors import NodeError
from edge_node.identity import Identity
from edge_node.metrics import Meter
from protos.result import Result
from tests.mqtt import PATIENCE, mosquitto, subscribed
from tests.publishing import BIRTH, publishing
from tests.services import require


def same(sent: list[Result], received: list[Result]) -> bool:
    """Whether they are the same but for being replayed."""
    return [it.id for it in sent] == [it.id for it in received]


def results(broker: Broker, root: str) -> Any:
    return subscribed(broker, f"{root}/lab/a/result")


@pytest.mark.parametrize("kind", installed())
def test_a_node_is_announced_publishes_in_order_and_says_goodbye(
    tmp_path: Path, root: str, kind: str
) -> None:
    with (
        open_broker(tmp_path, kind) as broker,
        subscribed(broker, f"{root}/lab/a/status") as statuses,
        results(broker, root) as inbox,
    ):
        with publishing(broker.port, tmp_path, root=root) as node:
            assert node.connected()
            sent = node.publish(3 * WINDOW)
            assert inbox.results(len(sent)) == sent
            session = node.outbox.session
        birth, death = statuses.status(), statuses.status()
    assert birth == {"schema": "tidegate.status/1", "state": "online", "session": session, **BIRTH}
    assert death == {"schema": "tidegate.status/1", "state": "offline", "session": session}


def test_the_last_status_is_retained(broker: Broker, tmp_path: Path, root: str) -> None:
    with publishing(broker.port, tmp_path, root=root) as node:
        assert node.connected()
        with subscribed(broker, f"{root}/#") as late:
            assert late.status()["state"] == "online"
    with subscribed(broker, f"{root}/#") as later:
        assert later.status()["state"] == "offline"


def test_sessions_are_numbered_upwards(broker: Broker, tmp_path: Path, root: str) -> None:
    with subscribed(broker, f"{root}/#") as statuses:
        for _ in range(2):
            with publishing(broker.port, tmp_path, root=root) as node:
                assert node.connected()
        sessions = [statuses.status()["session"] for _ in range(4)]
    assert sessions[0] == sessions[1] < sessions[2] == sessions[3]


def test_what_was_made_before_the_connection_says_that_it_is_replayed(
    broker: Broker, tmp_path: Path, root: str
) -> None:
    with results(broker, root) as inbox, publishing(broker.port, tmp_path, 3, root=root) as node:
        assert [it.replayed for it in inbox.results(3)] == [True] * 3
        assert node.connected()
        node.publish(3)
        assert [it.replayed for it in inbox.results(3)] == [False] * 3


def test_what_is_acknowledged_waits_no_longer(broker: Broker, tmp_path: Path, root: str) -> None:
    with results(broker, root), publishing(broker.port, tmp_path, root=root) as node:
        node.publish(10)
        assert node.empty()
        assert wait_until(lambda: node.metric("tidegate_queued_results") == 0, PATIENCE)
    assert node.metric("tidegate_dropped_results_total") == 0
    assert node.metric("tidegate_mqtt_connected") == 0


def test_leaving_waits_for_what_is_outstanding(broker: Broker, tmp_path: Path, root: str) -> None:
    with results(broker, root) as inbox:
        with publishing(broker.port, tmp_path, root=root) as node:
            assert node.connected()
            sent = node.publish(5 * WINDOW)
        assert inbox.results(len(sent)) == sent


def test_two_nodes_of_one_site_do_not_disturb_each_other(broker: Broker, tmp_path: Path, root: str) -> None:
    with (
        publishing(broker.port, tmp_path, root=root) as one,
        publishing(broker.port, tmp_path, root=root, name="b") as other,
    ):
        assert one.connected()
        assert other.connected()


def waits_for_a_listener(broker: Broker, folder: Path, root: str, unheard: str) -> tuple[int, list[int]]:
    """Results that wait before anybody listens; and what then arrives."""
    with publishing(broker.port, folder, root=root, outbox={"unheard": unheard}) as node:
        assert node.connected()
        node.publish(3)
        let_go = unheard == "confirm"
        assert node.empty(PATIENCE if let_go else 1.0) == let_go
        waiting = int(node.metric("tidegate_queued_results"))
        with results(broker, root) as inbox:
            node.publish(1)
            assert node.empty()
            arrived = [it.seq for it in inbox.results(waiting + 1)]
        return waiting, arrived


def test_without_a_subscriber_results_wait_until_there_is_one(
    broker: Broker, tmp_path: Path, root: str, caplog: pytest.LogCaptureFixture
) -> None:
    require("mosquitto")
    waiting, arrived = waits_for_a_listener(broker, tmp_path, root, "keep")
    assert waiting == 3
    assert sorted(arrived) == [0, 1, 2, 3]
    said = [it.getMessage() for it in caplog.records if it.levelno == logging.WARNING]
    assert said == ["the broker takes no results for now, or has nobody to give them to: they wait"]


def test_without_a_subscriber_results_are_let_go_where_the_settings_say_so(
    broker: Broker, tmp_path: Path, root: str
) -> None:
    waiting, arrived = waits_for_a_listener(broker, tmp_path, root, "confirm")
    assert waiting == 0
    assert arrived == [3]


def refusals(broker: Broker) -> int:
    return broker.process.log.read_text().count("not authorised")


def test_a_refused_password_is_said_once(tmp_path: Path, root: str, caplog: pytest.LogCaptureFixture) -> None:
    require("mosquitto")
    (tmp_path / "password").write_text("wrong\n")
    (tmp_path / "users").write_text("")
    with (
        mosquitto(tmp_path, "allow_anonymous false", f"password_file {tmp_path / 'users'}") as broker,
        publishing(
            broker.port, tmp_path, root=root, username="lab", password_file=tmp_path / "password", flush=0
        ),
    ):
        assert wait_until(lambda: refusals(broker) >= 2, PATIENCE)
    assert caplog.messages == [f"broker {HOST}:{broker.port} refuses the connection: Not authorized"]


def test_a_denied_result_is_a_dead_letter_and_said_once(
    tmp_path: Path, root: str, caplog: pytest.LogCaptureFixture
) -> None:
    require("mosquitto")
    (tmp_path / "acl").write_text("topic read #\n")
    with (
        mosquitto(tmp_path, "allow_anonymous true", f"acl_file {tmp_path / 'acl'}") as broker,
        publishing(broker.port, tmp_path, root=root) as node,
    ):
        node.publish(3)
        assert node.empty()
        assert node.dead() == [(seq, "the broker refuses it: Not authorized") for seq in range(3)]
        assert node.metric("tidegate_dropped_results_total", reason="refused") == 3
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert said == [
        f"broker {HOST}:{broker.port} refuses a message: Not authorized",
        "result 0 is a dead letter, and maybe not the last: the broker refuses it: Not authorized",
    ]


def test_results_travel_encrypted_to_a_broker_of_the_right_authority(tmp_path: Path, root: str) -> None:
    require("mosquitto")
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    tls = (f"certfile {tmp_path / 'cert.pem'}", f"keyfile {tmp_path / 'key.pem'}")
    with (
        mosquitto(tmp_path, "allow_anonymous true", *tls) as broker,
        publishing(
            broker.port, tmp_path, root=root, tls=Tls(ca=tmp_path / "ca.pem"), outbox={"unheard": "confirm"}
        ) as node,
    ):
        node.publish(3 * WINDOW)
        assert node.empty()


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"username": "u", "password_file": Path("absent")}, "absent: no such file or directory"),
        ({"tls": Tls(ca=Path("absent"))}, "absent: no such file or directory"),
        ({"tls": Tls(ca=Path("text"))}, "text: cannot be used for TLS"),
        ({"tls": Tls(ca=Path("ca.pem"), cert=Path("text"))}, "text: cannot be used for TLS"),
        ({"tls": Tls(ca=Path("ca.pem"), cert=Path("a"), key=Path("b"))}, "a with b: no such file"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(workplace: Path, settings: dict[str, Any], problem: str) -> None:
    (workplace / "text").write_text("no certificate")
    trustme.CA().cert_pem.write_to_path("ca.pem")
    with pytest.raises(NodeError) as caught:
        Connection(Mqtt(host=HOST, **settings), Identity(Node(site="lab", name="a")), dict, Meter())
    assert str(caught.value).startswith(f"[mqtt] {problem}")
