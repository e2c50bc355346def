"""Results on their way to a broker that is there: announced, in order, acknowledged, and a clean goodbye."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from deploy.demo.broker import Broker, installed, open_broker
from deploy.demo.processes import HOST, Child, wait_until
from edge_node.config import Mqtt, Node, Tls
from edge_node.connection import Connection
from edge_node.errors import NodeError
from edge_node.identity import Identity
from edge_node.metrics import Meter
from edge_node.publisher import WINDOW, MqttPublisher
from tests.ledger import exposition, value
from tests.mqtt import PATIENCE, subscribed
from tests.results import numbered
from tests.services import require

BIRTH = {"model": {"name": "edge"}}


@contextmanager
def publisher(settings: Mqtt, meter: Meter | None = None, name: str = "a") -> Iterator[MqttPublisher]:
    """A publisher of node ``lab/a`` at work."""
    identity = Identity(Node(site="lab", name=name))
    meter = meter or Meter()
    connection = Connection(settings, identity, BIRTH, meter)
    opened = MqttPublisher(connection, settings.max_queued, meter)
    with connection:
        yield opened


def at(broker: Broker, root: str, **settings: Any) -> Mqtt:
    return Mqtt(host=broker.host, port=broker.port, root=root, **settings)


def metric(meter: Meter, name: str, **labels: str) -> float:
    return value(exposition(meter.registry), name, **labels)


def connects(meter: Meter) -> bool:
    return wait_until(lambda: metric(meter, "tidegate_mqtt_connected") == 1, PATIENCE)


@pytest.mark.parametrize("kind", installed())
def test_a_node_is_announced_publishes_in_order_and_says_goodbye(
    tmp_path: Path, root: str, kind: str
) -> None:
    with (
        open_broker(tmp_path, kind) as broker,
        subscribed(broker, f"{root}/lab/a/status") as statuses,
        subscribed(broker, f"{root}/lab/a/result") as results,
    ):
        sent = numbered(3 * WINDOW)
        with publisher(at(broker, root)) as opened:
            for result in sent:
                opened.publish(result)
            assert results.results(len(sent)) == sent
        birth, death = statuses.status(), statuses.status()
    assert birth == {"schema": "tidegate.status/1", "state": "online", "session": birth["session"], **BIRTH}
    assert death == {"schema": "tidegate.status/1", "state": "offline", "session": birth["session"]}


def test_the_last_status_is_retained(broker: Broker, root: str) -> None:
    meter = Meter()
    with publisher(at(broker, root), meter):
        assert connects(meter)
        with subscribed(broker, f"{root}/#") as late:
            assert late.status()["state"] == "online"
    with subscribed(broker, f"{root}/#") as later:
        assert later.status()["state"] == "offline"


def test_sessions_are_numbered_upwards(broker: Broker, root: str) -> None:
    with subscribed(broker, f"{root}/#") as statuses:
        for _ in range(2):
            meter = Meter()
            with publisher(at(broker, root), meter):
                assert connects(meter)
        sessions = [statuses.status()["session"] for _ in range(4)]
    assert sessions[0] == sessions[1] < sessions[2] == sessions[3]


def test_results_published_before_the_connection_wait_for_it(broker: Broker, root: str) -> None:
    meter = Meter()
    connection = Connection(at(broker, root), Identity(Node(site="lab", name="a")), BIRTH, meter)
    opened = MqttPublisher(connection, 10, meter)
    sent = numbered(3)
    for result in sent:
        opened.publish(result)
    with subscribed(broker, f"{root}/lab/a/result") as results, connection:
        assert results.results(3) == sent


def test_nothing_is_outstanding_once_it_is_acknowledged(broker: Broker, root: str) -> None:
    meter = Meter()
    with publisher(at(broker, root), meter) as opened:
        for result in numbered(10):
            opened.publish(result)
        assert wait_until(lambda: metric(meter, "tidegate_queued_results") == 0, PATIENCE)
    assert metric(meter, "tidegate_dropped_results_total") == 0
    assert metric(meter, "tidegate_mqtt_connected") == 0


def test_leaving_waits_for_what_is_outstanding(broker: Broker, root: str) -> None:
    meter, sent = Meter(), numbered(5 * WINDOW)
    with subscribed(broker, f"{root}/lab/a/result") as results:
        with publisher(at(broker, root), meter) as opened:
            assert connects(meter)
            for result in sent:
                opened.publish(result)
        assert results.results(len(sent)) == sent
    assert metric(meter, "tidegate_dropped_results_total") == 0


def test_two_nodes_of_one_site_do_not_disturb_each_other(broker: Broker, root: str) -> None:
    meters = Meter(), Meter()
    with publisher(at(broker, root), meters[0]), publisher(at(broker, root), meters[1], name="b"):
        assert all(map(connects, meters))


@contextmanager
def mosquitto(folder: Path, *lines: str) -> Iterator[Broker]:
    """A Mosquitto with a configuration of its own."""
    with open_broker(folder, "mosquitto") as plain:
        config = folder / "mosquitto.conf"
        kept = config.read_text().replace("allow_anonymous true\n", "").replace("dest stdout", "dest stderr")
    config.write_text("\n".join((kept, "log_type all", *lines)))
    with Child("broker", [require("mosquitto"), "-c", config], folder / "broker.log") as process:
        assert wait_until(lambda: "running" in process.log.read_text(), PATIENCE), process.log.read_text()
        yield Broker("mosquitto", HOST, plain.port, process)


def refusals(broker: Broker) -> int:
    return broker.process.log.read_text().count("not authorised")


def test_a_refused_password_is_said_once(tmp_path: Path, root: str, caplog: pytest.LogCaptureFixture) -> None:
    require("mosquitto")
    (tmp_path / "password").write_text("wrong\n")
    (tmp_path / "users").write_text("")
    with mosquitto(tmp_path, "allow_anonymous false", f"password_file {tmp_path / 'users'}") as broker:
        settings = at(broker, root, username="lab", password_file=tmp_path / "password", flush=0)
        with publisher(settings):
            assert wait_until(lambda: refusals(broker) >= 2, PATIENCE)
    assert caplog.messages == [f"broker {HOST}:{broker.port} refuses the connection: Not authorized"]


def test_a_refused_result_is_counted_and_said(
    tmp_path: Path, root: str, caplog: pytest.LogCaptureFixture
) -> None:
    require("mosquitto")
    (tmp_path / "acl").write_text("topic read #\n")
    meter = Meter()
    with (
        mosquitto(tmp_path, "allow_anonymous true", f"acl_file {tmp_path / 'acl'}") as broker,
        publisher(at(broker, root), meter) as opened,
    ):
        for result in numbered(3):
            opened.publish(result)
        assert wait_until(
            lambda: metric(meter, "tidegate_dropped_results_total", reason="refused") == 3, PATIENCE
        )
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert said == [f"broker {HOST}:{broker.port} refuses a message: Not authorized"]


def test_results_travel_encrypted_to_a_broker_of_the_right_authority(tmp_path: Path, root: str) -> None:
    require("mosquitto")
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    tls = (f"certfile {tmp_path / 'cert.pem'}", f"keyfile {tmp_path / 'key.pem'}")
    meter = Meter()
    with mosquitto(tmp_path, "allow_anonymous true", *tls) as broker:
        with publisher(at(broker, root, tls=Tls(ca=tmp_path / "ca.pem")), meter) as opened:
            for result in numbered(3 * WINDOW):
                opened.publish(result)
        assert metric(meter, "tidegate_dropped_results_total") == 0


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
    with pytest.raises(NodeError) as caught, publisher(Mqtt(host=HOST, **settings)):
        pass
    assert str(caught.value).startswith(f"[mqtt] {problem}")
