"""A device falls back to servers of others as it does to ours: the same answers, the same metrics."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest

from edge_node.sample import Sample
from protos.artifact import Artifact, load
from protos.result import Reason, Result
from tests.benchmarks.cloud.contenders import tidegate
from tests.ledger import exposition, value
from tests.models import edge_artifact, linear
from tests.nodes import PATIENCE, opened, settings
from tests.peers import servers
from tests.peers.servers import Peer

ROWS = [np.array(row, np.float32) for row in ([0, 0.5, 0], [0.2, 0.1, 0.3], [0.6, 0.5, 0.4], [9, 0, 0])] * 5
"""Three in four of them are beyond the device's model."""
COUNTS: tuple[tuple[str, dict[str, str]], ...] = (
    ("tidegate_samples_total", {}),
    ("tidegate_results_total", {"reason": "cloud"}),
    ("tidegate_results_total", {"reason": "confident"}),
    ("tidegate_cloud_payload_bytes_total", {"direction": "sent"}),
    ("tidegate_cloud_retries_total", {}),
    ("tidegate_stage_duration_seconds_count", {"stage": "cloud"}),
    ("tidegate_circuit_state", {}),
    ("tidegate_deferrals_in_flight", {}),
)


@dataclass(frozen=True)
class Seen:
    """What a node made of the samples."""

    answers: list[tuple[Reason, str | None, Any]]
    counts: list[float]


OTHERS: dict[str, Callable[..., AbstractContextManager[Peer]]] = {
    "MLServer": servers.mlserver,
    "KServe": servers.kserve,
    "Triton": servers.triton,
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the cloud knows: surer than the device."""
    return linear(tmp_path_factory.mktemp("cloud") / "cloud.onnx", scale=10)


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    edge_artifact(folder := tmp_path_factory.mktemp("edge") / "edge")
    return load(folder)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory, edge: Artifact, model: Path) -> Seen:
    folder = tmp_path_factory.mktemp("ours")
    with tidegate(folder, model) as peer:
        return seen(folder, edge, peer)


def seen(folder: Path, edge: Artifact, peer: Peer) -> Seen:
    """A node's results of all samples, one after another, and its metrics."""
    cloud: dict[str, Any] = {"target": peer.target, "model": "cloud", "deadline": PATIENCE}
    results: list[Result] = []
    answered: SimpleQueue[Result] = SimpleQueue()
    with opened(settings(folder, edge, cloud=cloud)) as node:
        for row in ROWS:
            node._pipeline.process(Sample("", row), answered.put)
            results.append(answered.get(timeout=PATIENCE))
        said = exposition(node.meter.registry)
    answers = [(it.reason, it.label, pytest.approx(it.confidence, abs=1e-6)) for it in results]
    return Seen(answers, [value(said, name, **labels) for name, labels in COUNTS])


def test_the_control_our_own_server_answers_what_the_device_is_not_sure_of(ours: Seen) -> None:
    assert [reason for reason, _, _ in ours.answers[:4]] == [Reason.CLOUD] * 3 + [Reason.CONFIDENT]
    assert ours.counts == [20, 15, 5, 15 * 3 * 4, 0, 15, 0, 0]


@pytest.mark.parametrize("name", OTHERS)
def test_another_server_gives_the_same_answers_and_metrics(
    tmp_path: Path, edge: Artifact, model: Path, ours: Seen, name: str
) -> None:
    with OTHERS[name](tmp_path, model) as peer:
        found = seen(tmp_path, edge, peer)
    assert found.answers == ours.answers
    assert found.counts == ours.counts
