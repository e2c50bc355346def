"""Answer now, correct later, on a node that is killed again and again: one final result for each promise.

The control, a release that is not in the transaction of its result, is beside the courier's other tests.
"""

import random
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.demo.broker import Broker, open_broker
from deploy.demo.processes import wait_until
from protos import result as contract
from tests.chaos.cloud_stand import Stand, stand
from tests.integration.fleet import UNSURE, artifacts
from tests.ledger import value
from tests.mqtt import Inbox, publish, subscribed
from tests.nodes import PATIENCE, NodeProcess, started, write_config

ROUNDS, SAMPLES = 6, 60
TOPIC = "tidegate/lab/a/result"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    (tmp_path / "broker").mkdir()
    with open_broker(tmp_path / "broker") as opened:
        yield opened


@contextmanager
def node(folder: Path, cloud: Stand, broker: Broker) -> Iterator[NodeProcess]:
    """A node that promises, always with the same outbox."""
    config = write_config(
        folder,
        folder / "edge",
        source={"kind": "stdin"},
        cloud={"target": cloud.target, "deadline": 0.3, "delivery": "provisional"},
        mqtt={"host": broker.host, "port": broker.port},
        outbox={"path": str(folder / "outbox"), "linger": 0.02},
    )
    with started(folder, config) as running:
        yield running
        running.popen.kill()
        running.popen.wait()


def arrived(inbox: Inbox, broker: Broker) -> dict[str, dict[str, set[int]]]:
    """Numbers by id and state of all that the broker has taken."""
    numbers: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    publish(broker, TOPIC, b"")  # a topic keeps its order: this comes after all that was taken before
    while payload := bytes(inbox.get().payload):
        result = contract.decode(payload)
        numbers[result.id][result.state].add(result.seq)
    return numbers


def kept_its_word(node: NodeProcess) -> bool:
    """Whether nothing is held, and nothing waits to be sent."""
    metrics = node.metrics()
    return not value(metrics, "tidegate_held_inputs") and not value(metrics, "tidegate_queued_results")


def test_a_node_that_is_killed_keeps_its_promises(tmp_path: Path, broker: Broker) -> None:
    """The cloud comes and goes meanwhile; in the last round it is there."""
    artifacts(tmp_path)
    chance = random.Random(5)
    with stand(tmp_path, "blackhole") as cloud, subscribed(broker, TOPIC) as inbox:
        for round_ in range(ROUNDS):
            (cloud.strike if round_ % 2 == 0 else cloud.heal)()
            with node(tmp_path, cloud, broker) as mortal:
                mortal.feed([UNSURE] * SAMPLES)
                time.sleep(chance.uniform(0.0, 0.8))
        cloud.heal()
        with node(tmp_path, cloud, broker) as last:
            last.feed([UNSURE] * SAMPLES)
            assert wait_until(lambda: value(last.metrics(), "tidegate_samples_total") == SAMPLES, PATIENCE)
            assert wait_until(lambda: kept_its_word(last), 3 * PATIENCE), last.log()
        numbers = arrived(inbox, broker)
    assert len(numbers) > 2 * SAMPLES
    assert all(len(states["final"]) == 1 for states in numbers.values())
    assert all(len(states["provisional"]) == 1 for states in numbers.values())
    assert any(max(states["final"]) - max(states["provisional"]) > SAMPLES for states in numbers.values()), (
        "none was answered late"
    )
