"""What fails beneath a sink costs nothing: killed sinks, killed brokers, killed databases."""

import random
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from cloud_server.config import Fleet
from deploy.demo.broker import Broker, open_broker
from deploy.demo.processes import Child, wait_until
from tests import mqtt
from tests.cloud_server.fleet import sinks
from tests.cloud_server.fleet.dying import POINTS
from tests.cloud_server.fleet.rows import ids, payload
from tests.cloud_server.fleet.sinks import LONG, Device, process, send, sinking, stored, value
from tests.mqtt import PATIENCE
from tests.postgres import cluster, crash

PACE = 0.003
"""Seconds between two results of a device."""
SHARE = 200
"""Results between two faults."""
DYING = "tests.cloud_server.fleet.dying"


@contextmanager
def delivering(device: Device) -> Iterator[Callable[[], None]]:
    """The device sends all the while, until what this gives is called: that returns when all is confirmed."""
    with ThreadPoolExecutor(1) as pool:
        delivery = pool.submit(device.deliver, LONG, PACE)

        def finish() -> None:
            device.enough.set()
            delivery.result()

        try:
            yield finish
        finally:
            device.enough.set()


def count(database: str | None) -> int:
    """Rows stored; 0 while the database does not answer, or has no table yet."""
    assert database
    try:
        return len(ids(database))
    except DBAPIError:
        return 0


def subscribe(settings: Fleet) -> None:
    """From now on the broker keeps what the sink misses."""
    with sinking(settings):
        pass


def died(process: Child) -> None:
    """It killed itself, as it was told to."""
    assert wait_until(lambda: process.poll() is not None, PATIENCE), process.last_line()
    assert process.poll() == -signal.SIGKILL, process.last_line()


def killed_at(points: Sequence[str], settings: Fleet, device: Device, folder: Path) -> None:
    """Sinks die one after another, each at its point; the last one does not. All is there, in order."""
    chance = random.Random(len(points))
    subscribe(settings)
    with delivering(device) as finish:
        for life, point in enumerate(points):
            script = ("-m", DYING, "good", point, str(chance.randint(1, 4)))
            with process(settings, folder / str(life), script) as dying:
                died(dying)
        with process(settings, folder / "last"):
            finish()
    assert settings.database
    assert ids(settings.database) == device.ids


def test_a_sink_killed_at_every_point(broker: Broker, root: str, database: str, tmp_path: Path) -> None:
    killed_at(POINTS, sinks.fleet(broker, root, database), Device(broker, root), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("point", POINTS)
def test_a_sink_killed_at_every_point_often(
    broker: Broker, root: str, database: str, tmp_path: Path, point: str
) -> None:
    killed_at([point] * 20, sinks.fleet(broker, root, database), Device(broker, root), tmp_path)


@pytest.mark.parametrize(
    ("kind", "point"), [("good", "inserted"), ("good", "committed"), ("hasty", "inserted")]
)
def test_what_those_tests_would_show_of_a_hasty_sink(
    broker: Broker, root: str, tmp_path: Path, kind: str, point: str
) -> None:
    """Nobody sends again here, so that what the broker was told too early is lost for good."""
    settings = sinks.fleet(broker, root, f"sqlite:///{tmp_path}/fleet.sqlite")
    subscribe(settings)
    with process(settings, tmp_path / "dying", ("-m", DYING, kind, point, "1")) as dying:
        send(broker, f"{root}/lab/a/result", [(payload(seq), None) for seq in range(100)])
        died(dying)
    with sinking(settings) as meter:
        send(broker, f"{root}/lab/a/result", [(payload(100), None)])
        assert wait_until(lambda: "lab.a.7.100" in ids(str(settings.database)), PATIENCE)
        assert (value(meter, "tidegate_duplicate_results_total") > 0) == (point == "committed")
    assert (count(settings.database) == 101) == (kind == "good")


def killed_at_random(times: int, settings: Fleet, device: Device, folder: Path) -> None:
    """Sinks are killed at random instants, each after it has stored something. Everything is there, once."""
    chance = random.Random(times)
    subscribe(settings)
    with delivering(device) as finish:
        for life in range(times):
            before = count(settings.database)
            with process(settings, folder / str(life)) as sink:
                assert wait_until(lambda: count(settings.database) > before, LONG)  # noqa: B023
                sink.wait(chance.uniform(0, 0.3))  # and killed if it has not ended by then
                assert sink.poll() == -signal.SIGKILL, sink.last_line()
        with process(settings, folder / "last"):
            finish()
    assert settings.database
    assert sorted(ids(settings.database)) == sorted(device.ids)


def test_a_sink_killed_at_random(broker: Broker, root: str, database: str, tmp_path: Path) -> None:
    killed_at_random(3, sinks.fleet(broker, root, database), Device(broker, root), tmp_path)


@pytest.mark.slow
def test_a_sink_killed_at_random_often(broker: Broker, root: str, database: str, tmp_path: Path) -> None:
    killed_at_random(50, sinks.fleet(broker, root, database), Device(broker, root), tmp_path)


def test_one_of_two_sinks_killed_again_and_again(
    broker: Broker, root: str, database: str, tmp_path: Path
) -> None:
    """What the broker had given to the one that died waits for its return, or comes from the device again."""
    one, two = (
        sinks.fleet(broker, root, database, client_id=f"{root}-{name}", group="sinks") for name in "12"
    )
    subscribe(two)
    with process(two, tmp_path / "two"):
        killed_at_random(2, one, Device(broker, root), tmp_path)


def test_a_broker_that_dies_and_forgets_everything(tmp_path: Path, database: str) -> None:
    with open_broker(tmp_path) as broker:
        device = Device(broker, "tidegate")
        with (
            sinking(sinks.fleet(broker, "tidegate", database)) as meter,
            delivering(device) as finish,
        ):
            for fault in (1, 2):
                assert wait_until(lambda: stored(meter) > fault * SHARE, LONG)  # noqa: B023
                mqtt.kill(broker)
                assert wait_until(lambda: value(meter, "tidegate_fleet_broker_connected") == 0, PATIENCE)
                mqtt.restart(broker)
            finish()
            assert stored(meter) == device.sent
    assert sorted(ids(database)) == sorted(device.ids)


def test_a_postgres_that_crashes(broker: Broker, root: str, caplog: pytest.LogCaptureFixture) -> None:
    device = Device(broker, root)
    with cluster() as server:
        database = server.url("postgres")
        with (
            sinking(sinks.fleet(broker, root, database)) as meter,
            delivering(device) as finish,
        ):
            for fault in (1, 2):
                with server.running() as child:
                    assert wait_until(lambda: stored(meter) > fault * SHARE, LONG)  # noqa: B023
                    crash(child)
                    assert wait_until(lambda: value(meter, "tidegate_store_up") == 0, LONG)
            with server.running():
                finish()
                assert sorted(ids(database)) == sorted(device.ids)
                assert stored(meter) == device.sent
    said = [record.message for record in caplog.records if "database" in record.message]
    assert len(said) <= 8, "each outage and each return once"
