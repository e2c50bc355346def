"""What all-cloud would have cost, beside what it does cost: the same samples, hybrid and all sent."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from deploy.demo.broker import Broker
from deploy.demo.processes import wait_until
from protos.expiry import expiry
from tests.cloud_server import process
from tests.integration.fleet import SURE, UNSURE, cloud_server, edge_node
from tests.integration.test_true_bytes import pems
from tests.ledger import value
from tests.mqtt import PATIENCE
from tests.nodes import NodeProcess

SAMPLES = [SURE, UNSURE] * 150
NETWORK, CLOUD_ONLY = "tidegate_network_bytes_total", "tidegate_cloud_only_network_bytes_total"
DIRECTIONS = ("sent", "received")


def settled(node: NodeProcess, name: str, **labels: str) -> tuple[float, ...]:
    """Both directions of a count, once two looks have found the same."""
    seen: list[tuple[float, ...]] = []

    def still() -> bool:
        seen.append(tuple(value(node.metrics(), name, direction=it, **labels) for it in DIRECTIONS))
        return len(seen) > 12 and len(set(seen[-12:])) == 1

    assert wait_until(still, PATIENCE), seen
    return seen[-1]


@contextmanager
def fed(folder: Path, broker: Broker, root: str, policy: str) -> Iterator[NodeProcess]:
    """A node that has answered the samples."""
    (folder / policy).mkdir()
    with cloud_server(folder) as server:
        sections: dict[str, Any] = {"gate": {"policy": policy}, "outbox": {"path": str(folder / policy)}}
        with edge_node(folder, server.address, broker, root, **sections) as node:
            node.feed(SAMPLES)
            node.accounts()
            yield node


def test_the_bytes_of_a_cloud_that_answers_all_are_foretold(folder: Path, broker: Broker, root: str) -> None:
    """Of samples of 12 bytes: nearly all is framing, which has to be measured."""
    with fed(folder, broker, root, "always_cloud") as node:
        actual = settled(node, NETWORK, transport="grpc")
        assert settled(node, CLOUD_ONLY) == pytest.approx(actual, rel=0.01), "nothing was kept"
    with fed(folder, broker, root, "threshold") as node:
        foretold = settled(node, CLOUD_ONLY)
        hybrid = settled(node, NETWORK, transport="grpc")
    assert foretold == pytest.approx(actual, rel=0.05)
    assert hybrid < tuple(0.6 * it for it in actual)


def test_latencies_of_all_three_stand_side_by_side(folder: Path, broker: Broker, root: str) -> None:
    with fed(folder, broker, root, "threshold") as node:
        metrics = node.metrics()
    assert value(metrics, "tidegate_inference_duration_seconds_count") == len(SAMPLES)
    assert value(metrics, "tidegate_edge_only_duration_seconds_count") == len(SAMPLES)
    quantiles = "tidegate_cloud_only_latency_quantile_seconds"
    assert value(metrics, "tidegate_cloud_only_effective_samples") == pytest.approx(150)
    assert 0 < value(metrics, quantiles, at="p50") < 10
    assert math.isnan(value(metrics, quantiles, at="p99")), "150 samples do not know it"


def test_a_call_is_split_clocks_are_compared_and_certificates_grow_old(
    folder: Path, broker: Broker, root: str
) -> None:
    files = pems(folder)
    tls = {f"TIDEGATE_TLS__{name.upper()}": str(files[file]) for name, file in SERVER_FILES.items()}
    with ExitStack() as stack:
        server = stack.enter_context(process.started(folder, folder / "cloud", **tls))
        own = {name: str(path) for name, path in files.items()}
        node = stack.enter_context(edge_node(folder, server.address, broker, root, **{"cloud.tls": own}))
        node.feed([UNSURE] * 20)
        assert node.accounts() == {"cloud": 20}
        metrics, servers = node.metrics(), "\n".join(server.metrics()) + "\n"
    stages = {
        stage: value(metrics, "tidegate_stage_duration_seconds_sum", stage=stage)
        for stage in ("cloud", "network", "cloud_compute")
    }
    assert stages["network"] + stages["cloud_compute"] == pytest.approx(stages["cloud"], rel=0.2)
    error = value(metrics, "tidegate_clock_skew_error_seconds")
    assert abs(value(metrics, "tidegate_clock_skew_seconds")) <= error + 0.001, "both have the same clock"
    expires = "tidegate_tls_certificate_expiry_timestamp_seconds"
    assert value(metrics, expires, transport="grpc") == expiry(files["cert"])
    assert value(servers, expires, transport="grpc") == expiry(files["cert"])
    assert math.isnan(value(metrics, expires, transport="mqtt"))


SERVER_FILES = {"cert": "cert", "key": "key", "client_ca": "ca"}
