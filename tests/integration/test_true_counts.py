"""Counts and histograms are true: none is made up, none is lost, and a quantile is where it is said to be."""

import math
import random
import time
from bisect import bisect_left
from pathlib import Path

import numpy as np
import pytest

from cloud_server.metrics import Meter
from deploy.demo.broker import Broker, open_broker
from deploy.demo.processes import wait_until
from edge_node.node import EdgeNode
from protos.artifact import Artifact
from protos.buckets import DURATION_BUCKETS
from protos.inference_pb2 import ModelInferRequest
from protos.result import Result
from tests import mqtt, nodes
from tests.cloud_server.fleet import sinks
from tests.cloud_server.fleet.rows import ids
from tests.cloud_server.fleet.sinks import sinking
from tests.edge_node.clouds import HOST, Context, cloud, surer
from tests.ledger import exposition, results_by_reason, value
from tests.mqtt import PATIENCE

SURE, UNSURE = np.array([0, 5, 0], np.float32), np.array([0, 0.5, 0], np.float32)
ROOM = 40
"""Results that the outbox holds."""


def metric(node: EdgeNode, name: str, **labels: str) -> float:
    return value(exposition(node.meter.registry), f"tidegate_{name}", **labels)


def made(node: EdgeNode, samples: int) -> int:
    """Results in all, after so many more samples of every kind."""
    for number in range(samples):
        node.infer((SURE, UNSURE, b"bad")[number % 3])
    return sum(results_by_reason(exposition(node.meter.registry)).values())


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_what_was_made_is_stored_or_waits_or_was_dropped(
    tmp_path_factory: pytest.TempPathFactory, root: str, workplace: Path, artifact: Artifact, policy: str
) -> None:
    """With the sink there, without a broker, and with more results than there is room for."""
    with open_broker(tmp_path_factory.mktemp("broker")) as broker:
        fleet = sinks.fleet(broker, root, f"sqlite:///{workplace}/fleet.sqlite")
        settings = nodes.settings(
            workplace,
            artifact,
            mqtt={"host": broker.host, "port": broker.port, "root": root},
            outbox={"path": "outbox", "linger": 0.01, "confirm": "sink", "max_rows": ROOM, "policy": policy},
        )
        with sinking(fleet) as sink, nodes.opened(settings) as node:
            _balance(node, sink, broker, str(fleet.database))


def _balance(node: EdgeNode, sink: Meter, broker: Broker, database: str) -> None:
    total = made(node, ROOM // 2)
    assert wait_until(lambda: metric(node, "queued_results") == 0, PATIENCE)
    stored = sinks.stored(sink)
    assert (stored, metric(node, "dropped_results_total")) == (total, 0)
    mqtt.kill(broker)
    total = made(node, 3 * ROOM)

    def accounted() -> bool:
        waiting, dropped = metric(node, "queued_results"), metric(node, "dropped_results_total")
        return stored + waiting + dropped == total

    assert wait_until(accounted, PATIENCE), exposition(node.meter.registry)
    assert wait_until(lambda: metric(node, "dropped_results_total", reason="rows") >= 2 * ROOM, PATIENCE)
    assert wait_until(accounted, PATIENCE)
    mqtt.restart(broker)
    assert wait_until(lambda: metric(node, "queued_results") == 0, PATIENCE)
    dropped = metric(node, "dropped_results_total")
    assert wait_until(lambda: sinks.stored(sink) + dropped == total, PATIENCE)
    assert len(ids(database)) + dropped == total


class Collected:
    """A publisher that keeps what it gets."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def publish(self, result: Result, **_: object) -> None:
        self.results.append(result)


def uneven(request: ModelInferRequest, context: Context) -> bytes:
    """A cloud whose times are spread over four buckets."""
    time.sleep(random.Random(request.id).expovariate(40))
    return surer(request, context)


def bucket(seconds: float) -> int:
    return bisect_left(DURATION_BUCKETS, seconds)


def quantile(metrics: str, name: str, share: float, **labels: str) -> float:
    """As PromQL's ``histogram_quantile``: evenly spread within its bucket."""
    bounds = [0.0, *DURATION_BUCKETS]
    counts = [0.0] + [value(metrics, f"{name}_bucket", le=str(it), **labels) for it in DURATION_BUCKETS]
    rank = share * value(metrics, f"{name}_count", **labels)
    at = next(index for index, count in enumerate(counts) if count >= rank)
    if at == 0:
        return 0.0
    within = (rank - counts[at - 1]) / (counts[at] - counts[at - 1])
    return bounds[at - 1] + within * (bounds[at] - bounds[at - 1])


def test_p99_of_a_histogram_is_within_a_bucket_of_the_raw_one(tmp_path: Path, artifact: Artifact) -> None:
    published = Collected()
    with cloud(uneven) as port:
        section = {"target": f"{HOST}:{port}", "model": "cloud", "deadline": 20.0}
        with nodes.opened(nodes.settings(tmp_path, artifact, cloud=section), published) as node:
            for number in range(300):
                node.infer((SURE, UNSURE)[number % 2])
            metrics = exposition(node.meter.registry)
    for route in ("edge", "cloud"):
        raw = sorted(it.latency_ms.total / 1e3 for it in published.results if it.route == route)
        assert value(metrics, "tidegate_inference_duration_seconds_count", route=route) == len(raw) == 150
        for share in (0.5, 0.9, 0.99):
            exact = raw[math.ceil(share * len(raw)) - 1]
            told = quantile(metrics, "tidegate_inference_duration_seconds", share, route=route)
            assert abs(bucket(told) - bucket(exact)) <= 1, (route, share, told, exact)
    assert bucket(raw[-1]) - bucket(raw[0]) >= 3, "they were spread"
    edge = sorted(it.latency_ms.edge / 1e3 for it in published.results)
    told = quantile(metrics, "tidegate_edge_only_duration_seconds", 0.99)
    assert abs(bucket(told) - bucket(edge[math.ceil(0.99 * len(edge)) - 1])) <= 1
