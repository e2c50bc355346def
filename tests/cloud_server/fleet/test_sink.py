"""From the broker into the store and back to the node: with a real broker and both databases."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Connection

from cloud_server.config import Fleet
from cloud_server.fleet.store import Store
from deploy.demo.broker import Broker
from protos import ack
from protos.ack import Ack
from tests import mqtt
from tests.cloud_server.fleet import rows, sinks
from tests.cloud_server.fleet.dying import DyingSink, HastySink
from tests.cloud_server.fleet.rows import ids, payload
from tests.cloud_server.fleet.sinks import Device, send, sinking, stored, until, value
from tests.countdown import Harmless
from tests.mqtt import PATIENCE


@pytest.fixture
def settings(broker: Broker, root: str, database: str) -> Fleet:
    return sinks.fleet(broker, root, database)


@pytest.fixture
def lite(broker: Broker, root: str, tmp_path: Path) -> Fleet:
    return sinks.fleet(broker, root, f"sqlite:///{tmp_path}/fleet.sqlite")


def test_everything_is_stored_once_and_the_node_hears_of_it(
    broker: Broker, root: str, settings: Fleet, database: str
) -> None:
    device = Device(broker, root, 1000)
    with sinking(settings) as meter:
        device.deliver()
        assert stored(meter) == 1000
        assert value(meter, "tidegate_store_lag_seconds_count") >= 1000
        until(lambda: value(meter, "tidegate_nodes") == 1)
    assert ids(database) == device.ids


def test_the_ack_is_retained(broker: Broker, root: str, lite: Fleet) -> None:
    with sinking(lite):
        Device(broker, root, 10).deliver()
    with mqtt.subscribed(broker, f"{root}/lab/a/ack") as inbox:
        message = inbox.get()
        assert message.retain
        assert ack.decode(bytes(message.payload)) == Ack(stream=7, seq=9)


def test_who_asks_again_is_told_again(
    broker: Broker, root: str, lite: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "SILENCE", PATIENCE)  # the device sends nothing twice of its own accord
    with sinking(lite) as meter:
        Device(broker, root, 10).deliver()
        with mqtt.subscribed(broker, f"{root}/lab/a/ack") as inbox:
            inbox.get()
            send(broker, f"{root}/lab/a/result", [(payload(3), None)])
            assert ack.decode(bytes(inbox.get().payload)) == Ack(stream=7, seq=9)
        assert value(meter, "tidegate_duplicate_results_total") == 1


def test_a_gap_that_will_not_close(broker: Broker, root: str, settings: Fleet) -> None:
    with sinking(settings) as meter, mqtt.subscribed(broker, f"{root}/lab/a/ack") as inbox:
        send(broker, f"{root}/lab/a/result", [(payload(0), 0), (payload(5), 0)])
        assert ack.decode(bytes(inbox.get().payload)).seq == 0
        send(broker, f"{root}/lab/a/result", [(payload(6), 4)])
        assert ack.decode(bytes(inbox.get().payload)).seq == 3
        until(lambda: value(meter, "tidegate_missing_results") == 3)
        send(broker, f"{root}/lab/a/result", [(payload(4), None)])
        assert ack.decode(bytes(inbox.get().payload)).seq == 6


HOSTILE = [
    b"",
    b"\xff" * 100,
    b"[" * 60_000,
    b"x" * 100_000,
    payload(0, node="b"),
    payload(500, label="a\0b"),
    payload(501).replace(b"red", b"\xff"),
    payload(502, id="i" * 5000),
    payload(503, sample="s" * 100_000),
    payload(2**63),
    payload(0, stream=2**64 - 1),
    payload(504, captured_at=datetime(1, 1, 1, tzinfo=UTC)),
    payload(505, state="provisional", id="lab.a.7.3"),
]


def test_hostile_messages_among_good_ones(
    broker: Broker, root: str, settings: Fleet, database: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic = f"{root}/lab/a/result"
    with sinking(settings) as meter:
        for seq in range(200):
            send(broker, topic, [(payload(seq), 0), (HOSTILE[seq % len(HOSTILE)], None)])
        send(broker, topic, [(payload(200), -5)])
        send(broker, f"{root}/l b/a/result", [(payload(200), None)])
        Device(broker, root, 201).deliver()
        counted = {
            reason: value(meter, "tidegate_refused_results_total", reason=reason) for reason in REASONS
        }
        assert all(counted.values()), counted
        assert stored(meter) == 201 + 2, "the two odd ones are results: an early one, a late provisional one"
    assert sum("refused" in record.message for record in caplog.records) == len(REASONS), "each said once"
    with sinking(settings) as again:
        device = Device(broker, root, 202)
        device.deliver()
        assert sum(value(again, "tidegate_refused_results_total", reason=it) for it in REASONS) == 0
    assert set(ids(database)) == {*device.ids, "lab.a.7.504"}


REASONS = ("malformed", "identity", "text", "oversize", "range", "floor", "topic")


def test_what_the_database_will_not_have_is_kept_as_it_came(
    broker: Broker, root: str, settings: Fleet, database: str
) -> None:
    """Whatever we did not think of: here, a rule that somebody else gave the table."""
    with rows.opened(database) as store:
        store.prepare()
    _forbid(database, "blue")
    with sinking(settings) as meter:
        send(
            broker, f"{root}/lab/a/result", [(payload(0), 0), (payload(1, label="blue"), 0), (payload(2), 0)]
        )
        until(lambda: stored(meter) == 2)
        assert value(meter, "tidegate_refused_results_total", reason="unstorable") == 1
    assert ids(database) == ["lab.a.7.0", "lab.a.7.2"]
    assert rows.ask(database, "SELECT upto FROM streams") == [(2,)]


def _forbid(database: str, label: str) -> None:
    with rows.looking(database) as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(
                "CREATE TRIGGER rule BEFORE INSERT ON results WHEN new.label = "
                f"'{label}' BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
        else:
            connection.exec_driver_sql(f"ALTER TABLE results ADD CHECK (label <> '{label}')")
        connection.commit()


class Full(Store):
    """A store whose disk has so many pages."""

    pages = 40

    def prepare(self) -> None:
        if not self._prepared:
            event.listen(self._readers, "begin", self._limit)
        super().prepare()

    @classmethod
    def _limit(cls, connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {cls.pages}")


def test_a_full_disk_loses_nothing(broker: Broker, root: str, lite: Fleet) -> None:
    assert lite.database
    device = Device(broker, root, 500)
    with sinking(lite, store=Full) as meter:
        with pytest.raises(AssertionError, match="confirmed up to"):
            device.deliver(2.0)
        until(lambda: value(meter, "tidegate_store_up") == 0)
        held = len(ids(lite.database))
        assert device.confirmed < held < 500
        Full.pages = 1_000_000
        device.deliver()
        assert value(meter, "tidegate_store_up") == 1
    assert ids(lite.database) == device.ids


def test_old_results_are_deleted(broker: Broker, root: str, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/fleet.sqlite"
    with sinking(sinks.fleet(broker, root, database, keep=1.0)) as meter:
        Device(broker, root, 10).deliver()
        assert stored(meter) == 10
    with rows.looking(database) as connection:
        connection.exec_driver_sql("UPDATE results SET received_at = received_at - 90000 WHERE seq < 7")
        connection.commit()
    with sinking(sinks.fleet(broker, root, database, keep=1.0)):
        until(lambda: ids(database) == [f"lab.a.7.{seq}" for seq in (7, 8, 9)])


def test_two_sinks_share_the_work(broker: Broker, root: str, database: str) -> None:
    one, two = (
        sinks.fleet(broker, root, database, client_id=f"{root}-{name}", group="sinks") for name in "12"
    )
    devices = [Device(broker, root, 600, node) for node in "ab"]
    with sinking(one) as left, sinking(two) as right:
        for device in devices:
            device.deliver()
        assert min(stored(left), stored(right)) > 100
        assert stored(left) + stored(right) == 1200
    assert sorted(ids(database)) == sorted([*devices[0].ids, *devices[1].ids])


def test_what_comes_while_the_sink_is_away_waits_at_the_broker(
    broker: Broker, root: str, lite: Fleet
) -> None:
    with sinking(lite):
        pass
    send(broker, f"{root}/lab/a/result", [(payload(seq), None) for seq in range(50)])
    with sinking(lite) as meter:
        until(lambda: stored(meter) == 50)


@pytest.mark.parametrize(("kind", "kept"), [(DyingSink, 50), (HastySink, 0)])
def test_nothing_is_acknowledged_while_the_database_is_down(
    broker: Broker, root: str, tmp_path: Path, kind: type[DyingSink], kept: int
) -> None:
    """And a sink that does acknowledge loses it: else this test could not fail."""
    kind.countdown = taken = Harmless("taken", 50)
    away = sinks.fleet(broker, root, f"sqlite:///{tmp_path}/away/fleet.sqlite")
    with sinking(away, kind) as meter:
        send(broker, f"{root}/lab/a/result", [(payload(seq), None) for seq in range(50)])
        assert taken.over.wait(PATIENCE)
        until(lambda: value(meter, "tidegate_store_up") == 0)
        assert stored(meter) == 0
    (tmp_path / "away").mkdir()
    with sinking(away) as meter:
        send(broker, f"{root}/lab/b/result", [(payload(0, node="b"), None)])
        until(lambda: stored(meter) == kept + 1)
