"""The results sink at the broker of `deploy/mosquitto`: encrypted, as a user of its own, alone and as two."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cloud_server.config import BrokerTls, Fleet, Mqtt
from cloud_server.metrics import Meter
from deploy.demo.processes import HOST
from protos import ack
from protos.ack import Ack
from tests.cloud_server.fleet.rows import ids, payload
from tests.cloud_server.fleet.sinks import sinking, stored, until
from tests.deploy.fleet_broker import PASSWORD, Broker, connect, install

COUNT = 100


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = install(tmp_path, ["sink", "sink-2", "fleet", "lab/a"])
    with broker.running():
        yield broker


def settings(broker: Broker, user: str, group: str | None = None) -> Fleet:
    password = broker.folder / "password"
    password.write_text(f"{PASSWORD}\n")
    return Fleet(
        mqtt=Mqtt(
            host=HOST,
            port=broker.tls_port,
            username=user,
            password_file=password,
            tls=BrokerTls(ca=broker.folder / "ca.crt"),
        ),
        database=f"sqlite:///{broker.folder}/fleet.sqlite",
        group=group,
    )


@pytest.mark.parametrize(("users", "group"), [(["sink"], None), (["sink", "sink-2"], "3f9c")])
def test_a_node_hears_that_its_results_are_stored(
    broker: Broker, users: list[str], group: str | None
) -> None:
    with ExitStack() as stack:
        told = [settings(broker, user, group) for user in users]
        meters: list[Meter] = [stack.enter_context(sinking(each)) for each in told]
        node = stack.enter_context(connect(broker, "lab/a"))
        node.subscribe("tidegate/lab/a/ack")
        for seq in range(COUNT):
            node.publish("tidegate/lab/a/result", payload(seq))
        until(lambda: sum(map(stored, meters)) == COUNT)
        until(lambda: ack.decode(node.next()[1]) == Ack(stream=7, seq=COUNT - 1))
        assert all(map(stored, meters)), "each has its share"
    assert len(ids(str(told[0].database))) == COUNT


def test_a_user_that_may_not_confirm_says_so(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """A reader of the fleet can store results, but nodes would not hear of it."""
    with sinking(settings(broker, "fleet")) as meter, connect(broker, "lab/a") as node:
        node.publish("tidegate/lab/a/result", payload(0))
        until(lambda: stored(meter) == 1)
        until(lambda: "nodes will not hear what is stored" in caplog.text)
