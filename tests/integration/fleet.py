"""A node, a cloud server and a broker, each a process of its own, and what can happen to them."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deploy.demo.broker import Broker
from tests.cloud_server import process
from tests.cloud_server.process import Process
from tests.models import cloud_artifact, edge_artifact
from tests.nodes import NodeProcess, started, write_config

SURE, UNSURE = [0, 5, 0], [0, 0.5, 0]


def artifacts(folder: Path) -> Path:
    """The folder with ``edge`` and ``cloud``, made for each other, and ``other``, which has the same name."""
    edge_artifact(folder / "edge", cloud_artifact(folder / "cloud"))
    cloud_artifact(folder / "other", scale=2.0)
    return folder


@contextmanager
def cloud_server(folder: Path, model: str = "cloud", address: str = "127.0.0.1:0") -> Iterator[Process]:
    """``cloud-server run`` of the artifact of this name in ``folder``."""
    with process.started(folder, folder / model, "--port", address.rpartition(":")[2]) as server:
        assert server.ready, server.log.read_text()
        yield server


@contextmanager
def edge_node(
    folder: Path, address: str, broker: Broker, root: str, **sections: dict[str, Any]
) -> Iterator[NodeProcess]:
    """``edge-node run``: samples from us, doubts to the cloud at ``address``, results below ``root``."""
    defaults: dict[str, dict[str, Any]] = {
        "source": {"kind": "stdin"},
        "cloud": {"target": address, "deadline": 10.0},
        "mqtt": {"host": broker.host, "port": broker.port, "root": root},
    }
    with started(folder, write_config(folder, folder / "edge", **{**defaults, **sections})) as node:
        yield node


def kill(server: Process) -> None:
    """As the kernel does that runs out of memory."""
    server.popen.send_signal(signal.SIGKILL)
    server.popen.wait()
