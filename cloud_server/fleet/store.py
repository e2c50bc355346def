"""Results in a database: each once, in one transaction with how far its stream has come."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from sqlalchemy import Connection, Engine, Table, delete, func, select

from cloud_server.config import Fleet
from cloud_server.fleet import database, ledger, tables
from cloud_server.fleet.arrival import Arrival, Stream
from cloud_server.fleet.tables import gaps, refused, results, streams

PRUNED = 1000
"""Rows deleted in one transaction, so that no arrival waits long behind it."""


class Gap(NamedTuple):
    """Numbers that will never come."""

    site: str
    node: str
    stream: int
    first: int
    last: int
    known_since: float


class Survey(NamedTuple):
    """The whole store, counted."""

    nodes: int
    missing: int
    """Numbers in known gaps."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a transaction did."""

    stored: int
    """Results that were new."""
    duplicates: int
    heard: tuple[Stream, ...]
    """Streams whose nodes are to be told how far they are: it moved, or they seem not to know."""
    changed: bool
    """Whether a survey would say something else now."""


class Store:
    """One database. It raises what SQLAlchemy raises, and then nothing was written."""

    def __init__(self, engine: Engine) -> None:
        self._readers = engine
        self._writers = engine.execution_options(**{database.WRITES: True})
        self._insert = database.insertion[engine.dialect.name]
        self._prepared = False
        self.name = engine.url.render_as_string(hide_password=True)

    @classmethod
    def open(cls, settings: Fleet) -> Self:
        """The database of these settings, not connected yet; ``DatabaseError`` if there can be none."""
        return cls(database.connect(settings))

    def close(self) -> None:
        """Leave the database."""
        self._readers.dispose()

    def prepare(self) -> None:
        """Make the tables where they are missing."""
        if not self._prepared:
            tables.metadata.create_all(self._writers)
            self._prepared = True

    def write(self, arrivals: Sequence[Arrival]) -> Written:
        """Store what is new and count all of it as come, in one transaction."""
        now = time.time()
        good = [_row(it, now) for it in arrivals if it.refused is None]
        bad = [_row(it, now) for it in arrivals if it.refused is not None]
        with self._writers.begin() as connection:
            before = ledger.lock(connection, self._insert, sorted({it.stream for it in arrivals}))
            stored = self._put(connection, results, good)
            self._put(connection, refused, bad)
            taken = list(ledger.steps(before, arrivals))
            gaps_changed = ledger.record(connection, self._insert, taken, now)
        heard = tuple(it.stream for it in taken if it.late or it.after.upto > it.before.upto)
        begun = any(it.upto < 0 for it in before.values())
        return Written(stored, len(good) - stored, heard, gaps_changed or begun)

    def committed(self, wanted: Sequence[Stream]) -> list[tuple[Stream, int]]:
        """How far these streams have come, as everybody sees it now; in order."""
        with self._readers.connect() as connection:
            return ledger.committed(connection, wanted)

    def prune(self, before: float) -> int:
        """Delete up to ``PRUNED`` rows of each kind received before a time; how many went."""
        with self._writers.begin() as connection:
            pruned = sum(_prune(connection, table, before) for table in (results, refused))
            connection.execute(delete(gaps).where(gaps.c.known_since < before))
        return pruned

    def survey(self) -> Survey:
        """Count."""
        nodes = select(func.count()).select_from(select(streams.c.site, streams.c.node).distinct().subquery())
        missing = select(func.coalesce(func.sum(gaps.c.last - gaps.c.first + 1), 0))
        with self._readers.connect() as connection:
            return Survey(connection.scalar(nodes) or 0, int(connection.scalar(missing) or 0))

    def gaps(self) -> list[Gap]:
        """Everything that will never come, by node."""
        self.prepare()
        with self._readers.connect() as connection:
            return [Gap(*row) for row in connection.execute(select(gaps).order_by(*gaps.primary_key))]

    def _put(self, connection: Connection, table: Table, rows: list[dict[str, Any]]) -> int:
        """Insert what is not there yet; how many were not."""
        if not rows:
            return 0
        counted = {"preserve_rowcount": True}
        insert = self._insert(table).on_conflict_do_nothing()
        return connection.execute(insert, rows, execution_options=counted).rowcount


def _row(arrival: Arrival, received_at: float) -> dict[str, Any]:
    return {**ledger.key(arrival.stream), "seq": arrival.seq, "received_at": received_at, **arrival.row}


def _prune(connection: Connection, table: Table, before: float) -> int:
    old = select(table.c.row).where(table.c.received_at < before).order_by(table.c.received_at).limit(PRUNED)
    return connection.execute(delete(table).where(table.c.row.in_(old))).rowcount
