"""`/metrics`: all there from the start, in a form that Prometheus accepts."""

import socket
import subprocess
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge_node.config import Metrics
from edge_node.errors import PortInUse
from edge_node.metrics import Meter, serve
from edge_node.node import EdgeNode
from protos.artifact import Artifact
from tests.edge_node.clouds import HOST, cloud
from tests.ledger import exposition, value
from tests.nodes import opened, settings
from tests.services import require

SURE, UNSURE = np.array([0, 5, 0], np.float32), np.array([0, 0.5, 0], np.float32)


def series(metrics: str) -> set[tuple[str, frozenset[tuple[str, str]]]]:
    """Every series by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items()))
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
    }


def used(tmp_path: Path, artifact: Artifact, use: Callable[[EdgeNode], None]) -> str:
    """`/metrics` of a node with a cloud after it was used."""
    with cloud() as port:
        section = {"target": f"{HOST}:{port}", "model": "cloud", "deadline": 20.0}
        with opened(settings(tmp_path, artifact, cloud=section)) as node:
            use(node)
            return exposition(node.meter.registry)


def every_way(node: EdgeNode) -> None:
    for data in (SURE, UNSURE, b"bad"):
        node.infer(data)


def test_every_series_exists_from_the_start(tmp_path: Path, artifact: Artifact) -> None:
    fresh = used(tmp_path, artifact, lambda _: None)
    assert series(used(tmp_path, artifact, every_way)) == series(fresh)


def test_prometheus_accepts_them(tmp_path: Path, artifact: Artifact) -> None:
    checked = subprocess.run(
        [require("promtool"), "check", "metrics"],
        input=used(tmp_path, artifact, every_way),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_a_sample_is_counted_where_it_passes(tmp_path: Path, artifact: Artifact) -> None:
    metrics = used(tmp_path, artifact, every_way)
    assert value(metrics, "tidegate_samples_total") == 3
    assert value(metrics, "tidegate_confidence_count", route="edge") == 2
    assert value(metrics, "tidegate_stage_duration_seconds_count", stage="predict") == 2
    assert value(metrics, "tidegate_inference_duration_seconds_count", route="edge") == 2
    assert value(metrics, "tidegate_inference_duration_seconds_count", route="cloud") == 1


def test_what_the_cloud_alone_would_have_got_is_counted_for_every_readable_sample(
    tmp_path: Path, artifact: Artifact
) -> None:
    metrics = used(tmp_path, artifact, every_way)
    assert value(metrics, "tidegate_cloud_only_payload_bytes_total") == 2 * SURE.nbytes
    assert value(metrics, "tidegate_cloud_payload_bytes_total", direction="sent") == SURE.nbytes


def test_the_model_is_told(tmp_path: Path, artifact: Artifact) -> None:
    metrics = used(tmp_path, artifact, lambda _: None)
    assert value(metrics, "tidegate_model_info", name="edge", sha256=artifact.sha256, precision="fp32") == 1


def test_they_are_served_over_http() -> None:
    with (
        serve(Meter(), Metrics(port=0)) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer,
    ):
        assert value(answer.read().decode(), "tidegate_samples_total") == 0


def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse) as caught, serve(Meter(), Metrics(port=port)):
            pass
    assert str(caught.value) == (
        f"metrics on 127.0.0.1:{port}: address already in use; set [metrics] port to another one, or to 0"
    )


def test_an_address_that_is_not_ours_is_named() -> None:
    with (
        pytest.raises(PortInUse, match=r"^metrics on 192\.0\.2\.1:0: cannot assign requested address"),
        serve(Meter(), Metrics(host="192.0.2.1", port=0)),
    ):
        pass
