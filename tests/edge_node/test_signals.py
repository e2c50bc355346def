"""How a node in a process of its own ends when it is told to, and what it tells its supervisor."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edge_node.supervise import notify
from protos.artifact import Artifact
from tests.deploy.supervisor import Supervisor
from tests.edge_node.clouds import HOST, Held, cloud
from tests.nodes import PATIENCE, NodeProcess, started, write_config

SURE, UNSURE = [0, 5, 0], [0, 0.5, 0]


@contextmanager
def waiting(folder: Path, artifact: Artifact) -> Iterator[tuple[NodeProcess, Held]]:
    """A node with a deferral in flight, and the cloud that holds it."""
    held = Held()
    with cloud(held) as port:
        section = {"target": f"{HOST}:{port}", "model": "cloud", "deadline": PATIENCE}
        config = write_config(folder, artifact, source={"kind": "stdin"}, cloud=section)
        with started(folder, config) as node:
            node.feed([UNSURE])
            assert held.asked.wait(PATIENCE)
            yield node, held
        held.let_go.set()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_in_flight_still_gets_its_result(
    tmp_path: Path, artifact: Artifact, number: signal.Signals
) -> None:
    with waiting(tmp_path, artifact) as (node, held):
        node.signal(number)
        assert node.says(f"{number.name}: stopping; once more to stop at once")
        held.let_go.set()
        assert node.results(1)[0].reason == "cloud"
        assert node.wait() == 0


def test_a_second_signal_ends_the_node_at_once(tmp_path: Path, artifact: Artifact) -> None:
    with waiting(tmp_path, artifact) as (node, _):
        node.signal(signal.SIGTERM)
        assert node.says("stopping")
        node.signal(signal.SIGTERM)
        assert node.wait() == 128 + signal.SIGTERM


def test_the_supervisor_hears_when_a_node_runs_and_when_it_stops(tmp_path: Path, artifact: Artifact) -> None:
    supervisor = Supervisor(tmp_path, PATIENCE)
    config = write_config(tmp_path, artifact, source={"kind": "stdin"})
    with started(tmp_path, config, NOTIFY_SOCKET=str(supervisor.address)) as node:
        assert supervisor.next() == "READY=1"
        node.feed([SURE])
        node.results(1)
    assert supervisor.next() == "STOPPING=1"
    supervisor.close()


def test_a_supervisor_may_listen_in_the_abstract_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unix:
        unix.bind("")  # the kernel chooses a free abstract name
        name: bytes = unix.getsockname()
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name[1:].decode())
        notify("READY=1")
        assert unix.recv(100) == b"READY=1"


def test_a_node_that_only_waits_for_its_broker_stops_too(tmp_path: Path, artifact: Artifact) -> None:
    with socket.create_server((HOST, 0)) as taken:
        mqtt = {"host": HOST, "port": taken.getsockname()[1], "flush": 0.1}
        config = write_config(tmp_path, artifact, source={"kind": "stdin"}, mqtt=mqtt)
        with started(tmp_path, config) as node:
            node.feed([SURE, SURE])
            assert node.stop() == 0
            assert node.says("2 results are not confirmed yet: they wait in the outbox")
