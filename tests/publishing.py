"""Publishers of node ``lab/a`` at work in this process, and what their outbox says."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from deploy.demo.processes import HOST, wait_until
from edge_node import config
from edge_node.broker.connection import Connection
from edge_node.broker.publisher import MqttPublisher
from edge_node.config import Mqtt, Node
from edge_node.identity import Identity
from edge_node.metrics import Meter
from edge_node.outbox import Outbox
from edge_node.outbox.files import DATABASE
from protos import result as contract
from protos.result import Result
from tests.ledger import exposition, value
from tests.mqtt import PATIENCE
from tests.results import numbered

BIRTH = {"model": {"name": "edge"}}
LINGER = 0.01
"""Seconds between commits: tests have less patience than disks."""


class Publishing:
    """A publisher, its outbox and its numbers."""

    def __init__(
        self, publisher: MqttPublisher, outbox: Outbox, meter: Meter, folder: Path, name: str
    ) -> None:
        self.publisher, self.outbox, self.meter, self._folder = publisher, outbox, meter, folder
        self._own: dict[str, Any] = {"session": outbox.session, "stream": outbox.stream, "node": name}
        self._next = outbox.next_seq

    def publish(self, count: int, **changes: Any) -> list[Result]:
        """So many results, numbered on."""
        made = numbered(count, self._next, **self._own, **changes)
        self._next += count
        for result in made:
            self.publisher.publish(result)
        return made

    def metric(self, name: str, **labels: str) -> float:
        return value(exposition(self.meter.registry), name, **labels)

    def connected(self, patience: float = PATIENCE) -> bool:
        """Whether it is, or is soon."""
        return wait_until(lambda: self._connected() == 1, patience)

    def lost(self) -> bool:
        """Whether the connection ends soon."""
        return wait_until(lambda: self._connected() == 0, PATIENCE)

    def _connected(self) -> float | None:
        return self.meter.registry.get_sample_value("tidegate_mqtt_connected")

    def empty(self, patience: float = PATIENCE) -> bool:
        """Whether nothing waits any more, or soon."""
        return wait_until(lambda: self.outbox.committed() + 1 == self._next == self.outbox.floor(), patience)

    def dead(self) -> list[tuple[int, str]]:
        """Number and reason of the dead letters."""
        return [(contract.decode(payload).seq, reason) for payload, reason in self._letters()]

    def reasons(self) -> list[str]:
        """The same without the numbers: some have none."""
        return [reason for _, reason in self._letters()]

    def _letters(self) -> list[tuple[bytes, str]]:
        with closing(sqlite3.connect(self._folder / DATABASE)) as database:
            return database.execute("SELECT payload, reason FROM dead ORDER BY n").fetchall()


@contextmanager
def publishing(  # noqa: PLR0913 - each has a default that most tests want
    port: int,
    folder: Path,
    early: int = 0,
    *,
    meter: Meter | None = None,
    name: str = "a",
    outbox: dict[str, Any] | None = None,
    **mqtt: Any,
) -> Iterator[Publishing]:
    """A publisher at work; ``early`` results were committed before there was a connection."""
    meter, settings = meter or Meter(), config.Outbox(linger=LINGER, **(outbox or {}))
    place = folder / f"outbox-{name}"
    with Outbox(settings, place, meter) as opened:
        identity = Identity(Node(site="lab", name=name), opened.session, opened.stream)
        connection = Connection(Mqtt(host=HOST, port=port, **mqtt), identity, lambda: BIRTH, meter)
        made = Publishing(MqttPublisher(connection, opened, settings, meter), opened, meter, place, name)
        made.publish(early)
        assert wait_until(lambda: opened.committed() >= opened.next_seq + early - 1, PATIENCE)
        with connection:
            yield made
