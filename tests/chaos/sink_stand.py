"""A results sink in a process of its own, and what is in its store."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from deploy.demo.broker import Broker
from deploy.demo.processes import Child
from protos import result as contract
from tests.cloud_server.fleet import sinks
from tests.cloud_server.fleet.rows import ask

LONG = 150.0
"""Seconds for a sink to start, or to store thousands of results, on a busy machine."""


@dataclass(frozen=True)
class Stand:
    """The sink and its store."""

    database: str
    process: Child

    def count(self, node: str) -> int:
        """Results of a node; 0 while there is no table yet."""
        try:
            return int(ask(self.database, f"SELECT count(*) FROM results WHERE node = '{node}'")[0][0])
        except DBAPIError:
            return 0

    def duplicates(self) -> int:
        """Results that are there more often than once."""
        return int(ask(self.database, "SELECT count(*) - count(DISTINCT id) FROM results")[0][0])

    def samples(self, node: str) -> list[str]:
        """Whose results they are, in the order of their numbers."""
        found = ask(self.database, f"SELECT payload FROM results WHERE node = '{node}' ORDER BY seq")
        return [contract.decode(payload.encode()).sample for (payload,) in found]

    def seqs(self, node: str) -> list[int]:
        """Numbers of a node's results, in order."""
        found = ask(self.database, f"SELECT seq FROM results WHERE node = '{node}' ORDER BY seq")
        return [seq for (seq,) in found]


@contextmanager
def sink(broker: Broker, folder: Path, root: str = "tidegate") -> Iterator[Stand]:
    """It has its subscription."""
    settings = sinks.fleet(broker, root, f"sqlite:///{folder}/fleet.sqlite")
    assert settings.database
    with sinks.process(settings, folder / "sink") as process:
        yield Stand(settings.database, process)
