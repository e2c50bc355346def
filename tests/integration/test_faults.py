"""Real faults of real processes: whatever dies, hangs or is cut, each sample has its one result."""

import signal
from contextlib import ExitStack
from pathlib import Path

from deploy.demo.broker import Broker, open_broker
from deploy.demo.link import Link, Profile
from deploy.demo.processes import HOST, wait_until
from tests.integration.fleet import SURE, UNSURE, cloud_server, edge_node, kill
from tests.ledger import value
from tests.mqtt import PATIENCE, restart, subscribed
from tests.mqtt import kill as kill_broker
from tests.nodes import NodeProcess

FAST = Profile(latency=0.0, jitter=0.0, up=1e9, down=1e9)


def rises(node: NodeProcess) -> bool:
    """Whether the cloud answers one more sample, or soon does."""
    before = node.accounts().get("cloud", 0)

    def again() -> bool:
        node.feed([UNSURE])
        return node.accounts().get("cloud", 0) > before

    return wait_until(again, PATIENCE)


def test_a_cloud_that_is_killed_costs_accuracy_but_no_sample(folder: Path, broker: Broker, root: str) -> None:
    with ExitStack() as first, subscribed(broker, f"{root}/lab/a/result") as results:
        server = first.enter_context(cloud_server(folder))
        with edge_node(folder, server.address, broker, root) as node:
            node.feed([UNSURE] * 200)
            assert wait_until(lambda: value(node.metrics(), "tidegate_samples_total") >= 20, PATIENCE)
            kill(server)
            node.feed([SURE, UNSURE] * 10)
            reasons = node.accounts()
            arrived = results.results(node.fed)
            with cloud_server(folder, address=server.address):
                assert rises(node)
    assert reasons["confident"] == 10
    assert set(reasons) <= {"confident", "cloud", "cloud_unreachable", "circuit_open"}
    assert reasons["circuit_open"] > 0
    assert sorted(result.seq for result in arrived) == list(range(220))
    assert {result.label for result in arrived} == {"green"}


def test_a_cloud_that_hangs_costs_the_deadline_and_no_more(folder: Path, broker: Broker, root: str) -> None:
    with cloud_server(folder) as server:
        cloud = {"target": server.address, "deadline": 0.3}
        with edge_node(folder, server.address, broker, root, cloud=cloud) as node:
            assert rises(node)
            before = node.fed
            server.popen.send_signal(signal.SIGSTOP)
            node.feed([SURE, UNSURE] * 5)
            reasons = node.accounts()
            server.popen.send_signal(signal.SIGCONT)
            assert rises(node)
    assert reasons["confident"] == 5
    assert reasons["cloud_timeout"] >= 5
    assert sum(reasons.values()) == before + 10


def test_a_cloud_that_comes_later_is_used(folder: Path, broker: Broker, root: str) -> None:
    with cloud_server(folder) as server:
        address = server.address
    with edge_node(folder, address, broker, root) as node:
        node.feed([UNSURE])
        assert node.accounts() == {"circuit_open": 1}
        with cloud_server(folder, address=address):
            assert rises(node)


def test_a_cloud_that_comes_back_as_another_model_is_never_believed(
    folder: Path, broker: Broker, root: str
) -> None:
    with ExitStack() as first:
        server = first.enter_context(cloud_server(folder))
        with edge_node(folder, server.address, broker, root) as node:
            node.feed([UNSURE])
            assert node.accounts() == {"cloud": 1}
            first.close()
            with cloud_server(folder, "other", server.address):
                node.feed([UNSURE] * 5)
                assert wait_until(
                    lambda: "the artifact expects model 'cloud' of sha256" in node.log(), PATIENCE
                )
                node.feed([UNSURE] * 5)
                reasons = node.accounts()
    assert reasons.pop("cloud") == 1
    assert set(reasons) <= {"circuit_open", "cloud_error", "cloud_unreachable"}
    assert reasons["circuit_open"] >= 5


def test_a_link_that_is_lost_leaves_the_edge_on_its_own(folder: Path, broker: Broker, root: str) -> None:
    with ExitStack() as cut, cloud_server(folder) as server:
        forward = cut.enter_context(Link(FAST)).forward(HOST, int(server.address.rpartition(":")[2]))
        with edge_node(folder, f"{HOST}:{forward.port}", broker, root) as node:
            node.feed([UNSURE])
            assert node.accounts() == {"cloud": 1}
            cut.close()
            node.feed([SURE, UNSURE] * 5)
            reasons = node.accounts()
    assert (reasons["confident"], reasons["cloud"]) == (5, 1)
    assert sum(reasons.values()) == 11


def test_results_outlive_the_broker(folder: Path, tmp_path: Path) -> None:
    """The new broker remembers nothing, and nobody listened at the old one: all of it waits, however long."""
    (tmp_path / "broker").mkdir()
    with (
        open_broker(tmp_path / "broker") as mortal,
        cloud_server(folder) as server,
        edge_node(folder, server.address, mortal, "tidegate") as node,
    ):
        node.feed([SURE])
        assert node.accounts() == {"confident": 1}
        kill_broker(mortal)
        node.feed([SURE, UNSURE] * 20)
        assert node.accounts() == {"confident": 21, "cloud": 20}
        assert value(node.metrics(), "tidegate_queued_results") == 41
        restart(mortal)
        with subscribed(mortal, "tidegate/lab/a/result") as inbox:
            assert wait_until(lambda: value(node.metrics(), "tidegate_queued_results") == 0, PATIENCE)
            arrived = inbox.results(41)
        assert {result.seq for result in arrived} == set(range(41))
