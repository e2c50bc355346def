"""A broker that is bounced under 200 nodes: all come back, not all at once, and nothing is lost.

Light nodes: a connection, a publisher and an outbox each, without a model.
"""

import random
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import get_ident
from types import SimpleNamespace

import pytest

from deploy.demo.broker import Broker
from deploy.demo.processes import wait_until
from edge_node.broker import connection
from edge_node.broker.connection import Connection
from tests.chaos.sink_stand import LONG, sink
from tests.mqtt import kill, mosquitto, restart
from tests.publishing import Publishing, publishing

NODES = 200
EACH = 10
"""Results of a node before the broker is gone, and as many while it is."""
BACK = 60.0
"""Seconds in which all must be back."""
CAP = 100
"""Connections that the broker may have to accept in any one second."""


@contextmanager
def herd(broker: Broker, folder: Path, count: int = NODES) -> Iterator[list[Publishing]]:
    """So many nodes, connected."""
    outbox = {"confirm": "sink", "ballast": 0}
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(publishing(broker.port, folder, name=f"n{number}", outbox=outbox))
            for number in range(count)
        ]
        assert all(node.connected() for node in nodes)
        yield nodes


class Waits:
    """How long each node waits in all before it is connected: not what a busy machine makes of that."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._total: defaultdict[int, float] = defaultdict(float)
        self._due: dict[int, float] = {}
        self.too_early = 0
        connect = Connection._connect

        def look(node: Connection) -> None:
            self.too_early += time.monotonic() < self._due.get(get_ident(), 0)
            connect(node)

        monkeypatch.setattr(Connection, "_connect", look)
        monkeypatch.setattr(connection, "random", SimpleNamespace(uniform=self._draw))

    def begin(self) -> None:
        """From now on."""
        self._total.clear()

    def most(self) -> int:
        """Nodes whose wait ends in the same second."""
        return max(Counter(map(int, self._total.values())).values())

    def _draw(self, low: float, high: float) -> float:
        drawn = random.uniform(low, high)
        self._total[get_ident()] += drawn
        self._due[get_ident()] = time.monotonic() + drawn
        return drawn


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    return Waits(monkeypatch)


def bounce(broker: Broker, nodes: list[Publishing]) -> None:
    """The broker is gone for a moment, and everybody notices."""
    kill(broker)
    assert all(node.lost() for node in nodes)
    for node in nodes:
        node.publish(EACH)
    restart(broker)


def rush(broker: Broker, nodes: list[Publishing], waits: Waits) -> int:
    """The most of them that come back in one second once the broker does."""
    waits.begin()
    bounce(broker, nodes)
    assert wait_until(lambda: all(node.connected(0) for node in nodes), BACK)
    assert not waits.too_early
    return waits.most()


def test_two_hundred_nodes_come_back_without_a_rush_and_lose_nothing(tmp_path: Path, waits: Waits) -> None:
    with (
        mosquitto(tmp_path, "allow_anonymous true") as broker,
        sink(broker, tmp_path) as stand,
        herd(broker, tmp_path) as nodes,
    ):
        for node in nodes:
            node.publish(EACH)
        most = rush(broker, nodes, waits)
        print(f"{NODES} nodes back, at most {most} connections a second")  # noqa: T201
        assert most <= CAP
        assert all(node.empty(LONG) for node in nodes)
        assert sum(stand.count(f"n{number}") for number in range(NODES)) == 2 * EACH * NODES
        assert stand.duplicates() == 0


def test_without_jitter_they_come_all_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waits: Waits
) -> None:
    """The negative: the same nodes, each after the same time."""
    monkeypatch.setattr(connection, "BACK_OFF", (6.0, 30.0))  # long enough for the broker to be back before
    with mosquitto(tmp_path, "allow_anonymous true") as broker, herd(broker, tmp_path, NODES // 2) as nodes:
        spread = rush(broker, nodes, waits)
        monkeypatch.setattr(random, "uniform", lambda _low, high: high)
        assert rush(broker, nodes, waits) > 1.5 * spread
