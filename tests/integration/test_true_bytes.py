"""Bytes are true: the meters of node and server against what a proxy on the way has seen."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme

from deploy.demo.link import Counts
from deploy.demo.processes import HOST, wait_until
from tests.cloud_server import process
from tests.cloud_server.process import Process
from tests.faults.proxy import Proxy
from tests.integration.fleet import SURE, UNSURE, edge_node
from tests.ledger import value
from tests.mqtt import PATIENCE, mosquitto
from tests.nodes import NodeProcess

NETWORK = "tidegate_network_bytes_total"
TOLERANCE = 0.01
ROUNDS, SAMPLES = 4, 600
CUT = 30_000
"""Bytes up after which a connection ends in the midst of its work: what is under way then, a hundredth of it
or less, one end has sent and the other never got."""
LATENCY = 0.005
"""Seconds one way, as over the air: what begins and ends between two looks was no connection there."""


@dataclass(frozen=True)
class Stand:
    """A node whose ways to server and broker lead through proxies."""

    node: NodeProcess
    server: Process
    to_cloud: Proxy
    to_broker: Proxy

    def node_counts(self, transport: str) -> tuple[float, float]:
        """Bytes that the node says it has sent and received."""
        metrics = self.node.metrics()
        sent, received = (
            value(metrics, NETWORK, transport=transport, direction=it) for it in ("sent", "received")
        )
        return sent, received

    def true(self, transport: str) -> bool:
        """Whether the node's meter and the proxy agree."""
        proxy = self.to_cloud if transport == "grpc" else self.to_broker
        return close(self.node_counts(transport), proxy.counts())

    def server_is_true(self) -> bool:
        """Whether the server's meter and the proxy agree: what one side sends, the other receives."""
        metrics = "\n".join(self.server.metrics()) + "\n"
        received, sent = (
            value(metrics, NETWORK, transport="grpc", direction=it) for it in ("received", "sent")
        )
        return close((received, sent), self.to_cloud.counts())


def close(metered: tuple[float, float], seen: Counts) -> bool:
    """Whether both directions are within 1 %."""
    return all(
        abs(mine - real) <= TOLERANCE * real
        for mine, real in zip(metered, (seen.sent, seen.received), strict=True)
    )


@contextmanager
def stand(folder: Path, *, encrypted: bool) -> Iterator[Stand]:
    files = pems(folder)
    environ = {f"TIDEGATE_TLS__{key.upper()}": str(files[key]) for key in ("cert", "key")}
    lines = [f"{key}file {files[key]}" for key in ("cert", "key")]
    tls: dict[str, Any] = {"ca": str(files["ca"])}
    with ExitStack() as stack:
        server = stack.enter_context(
            process.started(folder, folder / "cloud", **(environ if encrypted else {}))
        )
        broker = stack.enter_context(mosquitto(folder, "allow_anonymous true", *(lines if encrypted else [])))
        to_cloud = stack.enter_context(Proxy(HOST, int(server.address.rpartition(":")[2])))
        to_broker = stack.enter_context(Proxy(HOST, broker.port))
        more = {"cloud.tls": tls, "mqtt.tls": tls} if encrypted else {}
        node = stack.enter_context(
            edge_node(
                folder,
                to_cloud.target,
                broker,
                "bytes",
                mqtt={"host": HOST, "port": to_broker.port, "root": "bytes"},
                outbox={"path": str(folder / "outbox"), "linger": 0.01, "unheard": "confirm"},
                **more,
            )
        )
        yield Stand(node, server, to_cloud, to_broker)


def pems(folder: Path) -> dict[str, Path]:
    """An authority and a certificate for this machine."""
    authority = trustme.CA()
    issued = authority.issue_cert(HOST, common_name="node")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    issued.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    issued.private_key_pem.write_to_path(str(folder / "key.pem"))
    return {name: folder / f"{name}.pem" for name in ("ca", "cert", "key")}


def answered_by_cloud(node: NodeProcess) -> bool:
    before = node.accounts().get("cloud", 0)
    node.feed([UNSURE])
    return node.accounts().get("cloud", 0) > before


@pytest.mark.parametrize("encrypted", [False, True], ids=["plaintext", "TLS"])
def test_bytes_are_within_one_percent_of_what_crossed(folder: Path, *, encrypted: bool) -> None:
    """A mixed run; connections are cut while nothing and while something crosses them."""
    with stand(folder, encrypted=encrypted) as it:
        for number in range(ROUNDS):
            assert wait_until(lambda: answered_by_cloud(it.node), PATIENCE)
            it.to_cloud.shape(latency=LATENCY)
            if number == 1:
                it.to_cloud.reset(after=CUT)
            it.node.feed([SURE, UNSURE, UNSURE] * (SAMPLES // 3))
            it.node.accounts()
            it.to_cloud.heal()
            it.to_cloud.reset()
            it.to_broker.reset()
        assert wait_until(lambda: it.true("grpc") and it.true("mqtt"), PATIENCE), (
            it.node_counts("grpc"),
            it.to_cloud.counts(),
            it.node_counts("mqtt"),
            it.to_broker.counts(),
        )
        assert it.to_cloud.counts().connections > ROUNDS
        assert it.to_broker.counts().connections > 1
        assert it.server_is_true()
        metrics = it.node.metrics()
    payload = value(metrics, "tidegate_cloud_payload_bytes_total", direction="sent")
    assert not close((payload, 0), it.to_cloud.counts()), "what is counted without framing is too little"
