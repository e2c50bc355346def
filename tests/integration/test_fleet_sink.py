"""Node, broker and results sink together: what the node's outbox forgets is in the store."""

from pathlib import Path

import numpy as np
import pytest

from deploy.demo.broker import Broker
from deploy.demo.processes import wait_until
from edge_node.node import EdgeNode
from protos.artifact import Artifact
from tests import nodes
from tests.cloud_server.fleet import sinks
from tests.cloud_server.fleet.rows import ask, ids
from tests.cloud_server.fleet.sinks import sinking
from tests.mqtt import PATIENCE

COUNT = 300
ROW = np.array([0, 9, 0], np.float32)


def depth(node: EdgeNode) -> float:
    waiting = node.meter.registry.get_sample_value("tidegate_queued_results")
    assert waiting is not None
    return waiting


@pytest.fixture
def sections(broker: Broker, root: str) -> dict[str, dict[str, object]]:
    return {
        "mqtt": {"host": broker.host, "port": broker.port, "root": root},
        "outbox": {"path": "outbox", "linger": 0.01, "confirm": "sink"},
    }


def test_a_node_forgets_a_result_once_it_is_stored(
    broker: Broker, root: str, workplace: Path, artifact: Artifact, sections: dict[str, dict[str, object]]
) -> None:
    """Also what it made before there was a sink, and what a first life of it left behind."""
    fleet = sinks.fleet(broker, root, f"sqlite:///{workplace}/fleet.sqlite")
    settings = nodes.settings(workplace, artifact, **sections)
    made = []
    with nodes.opened(settings) as node:
        made += [node.infer(ROW).id for _ in range(COUNT)]
        assert depth(node) == COUNT
    with sinking(fleet), nodes.opened(settings) as node:
        made += [node.infer(ROW).id for _ in range(COUNT)]
        assert wait_until(lambda: depth(node) == 0, PATIENCE)
    assert sorted(ids(str(fleet.database))) == sorted(made)
    assert ask(str(fleet.database), "SELECT upto FROM streams") == [(2 * COUNT - 1,)]
    assert ask(str(fleet.database), "SELECT * FROM gaps") == []
