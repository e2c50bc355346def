"""The outbox on the disk: one SQLite database, one writer, every change one transaction.

``synchronous=FULL``: with NORMAL a power cut takes back what was committed. Only the thread that
opened a store uses it.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from math import ceil
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from edge_node.outbox.change import Change, Held, Row
from edge_node.outbox.database import Connection, Damaged, connect
from edge_node.outbox.format import SCHEMA, State, decode_state, encode_state, seal, seal_dead, seal_held

CHECKPOINT = 256
"""Pages of the write-ahead log (1 MiB) from which it is written back: a full disk must have room for it."""
DEAD = 1000
"""Dead letters kept."""
_VACUUM = 256
"""Free pages given back to the file system in one transaction."""

UPTO = "DELETE FROM result WHERE seq <= ? RETURNING length(payload)"
EACH = "DELETE FROM result WHERE seq IN (SELECT value FROM json_each(?)) RETURNING length(payload)"
EXPIRED = """
DELETE FROM result
WHERE seq < coalesce((SELECT seq FROM result WHERE born >= ? ORDER BY seq LIMIT 1), 1 << 62)
RETURNING length(payload)"""
OLDEST = """
DELETE FROM result WHERE seq IN (SELECT seq FROM result ORDER BY seq LIMIT ?)
RETURNING length(payload)"""


class Bounds(NamedTuple):
    """What may wait."""

    policy: Literal["drop_oldest", "drop_newest", "reject"]
    max_rows: int
    max_bytes: int
    max_age: float


class Store:
    """The database, open. ``sqlite3.Error`` or ``Damaged`` if it cannot be used as it is."""

    def __init__(self, path: Path, connect: Callable[[Path], Connection] = connect) -> None:
        self._db = connect(path)
        try:
            self._prepare()
            self.state = self._read_state()
            self.rows, self.bytes = self._sum("result", "length(payload)")
            self.held, self.held_bytes = self._sum("held", "size")
            self._look_at_oldest()
        except BaseException:
            self._db.close()
            raise

    def commit(self, change: Change, state: State, bounds: Bounds) -> tuple[list[Row], Counter[str]]:
        """One transaction: the rows it took in, and how many results it dropped by reason.

        After an error nothing has changed, here or on the disk.
        """
        dropped: Counter[str] = Counter()
        with self.transaction(state):
            self._remove(change)
            dropped["age"] = self._delete(EXPIRED, state.moment.seconds - bounds.max_age)
            rows = self._make_room(change, bounds, dropped)
            self._insert(rows, change, state.moment.seconds)
        return rows, dropped

    @contextmanager
    def transaction(self, state: State) -> Iterator[None]:
        """All of it, and the state after it; or nothing."""
        before = self.rows, self.bytes, self.held, self.held_bytes
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("UPDATE state SET seal = ?, body = ?", encode_state(state))
            self._db.execute("COMMIT")
        except BaseException:
            self.rows, self.bytes, self.held, self.held_bytes = before
            self._roll_back()
            raise
        self.state = state
        self._look_at_oldest()

    def retries(self) -> list[tuple[float, bytes]]:
        """Birth and payload of the dead letters that are to be sent again."""
        found: list[tuple[float, bytes]] = self._db.execute(
            "SELECT born, payload FROM dead WHERE retry ORDER BY n"
        ).fetchall()
        return found

    def forget_retries(self) -> None:
        """They are dead no more."""
        self._db.execute("DELETE FROM dead WHERE retry")

    def give_back(self) -> None:
        """Free pages, some at a time, to the file system: after an outage the file shrinks again."""
        free = self._one("PRAGMA freelist_count")
        if free > max(_VACUUM, self._one("PRAGMA page_count") * 3 // 4):
            self._db.execute(f"PRAGMA incremental_vacuum({_VACUUM})").fetchall()

    def checkpoint(self) -> None:
        """Write the log back, so that its space can be used again."""
        self._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def close(self) -> None:
        self._db.close()

    def _prepare(self) -> None:
        if new := not self._one("PRAGMA schema_version"):
            self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first table, or never
        self._db.execute("PRAGMA journal_mode = WAL").fetchall()
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}").fetchall()
        if new:
            self._create()
        elif (problem := self._one("PRAGMA quick_check(1)")) != "ok":
            raise Damaged(problem)

    def _create(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA.split(";")[:-1]:
            self._db.execute(statement)
        self._db.execute("INSERT INTO state VALUES (0, ?, ?)", encode_state(State()))
        self._db.execute("COMMIT")

    def _read_state(self) -> State:
        row = self._db.execute("SELECT seal, body FROM state").fetchone()
        if row is None or (state := decode_state(*row)) is None:
            raise Damaged("its state cannot be read")
        return state

    def _sum(self, table: str, size: str) -> tuple[int, int]:
        count, total = self._db.execute(f"SELECT count(*), total({size}) FROM {table}").fetchone()  # noqa: S608 - our own two
        return count, int(total)

    def _look_at_oldest(self) -> None:
        """``oldest``: seq and time of birth of the first that waits."""
        found = self._db.execute("SELECT seq, born FROM result ORDER BY seq LIMIT 1").fetchone()
        self.oldest: tuple[int, float] | None = found and (found[0], found[1])

    def _remove(self, change: Change) -> None:
        if change.confirmed_upto >= 0:
            self._delete(UPTO, change.confirmed_upto)
        if change.confirmed:
            self._delete(EACH, msgspec.json.encode(change.confirmed).decode())
        for seq, reason in change.dead:
            self._bury(seq, reason)

    def _bury(self, seq: int, reason: str) -> None:
        row = self._db.execute("SELECT born, payload FROM result WHERE seq = ?", (seq,)).fetchone()
        if row is None:
            return
        self._delete(EACH, f"[{seq}]")
        born, payload = row
        self.put_dead(born, payload, reason)
        self._db.execute(
            "DELETE FROM dead WHERE n <= (SELECT n FROM dead ORDER BY n DESC LIMIT 1 OFFSET ?)", (DEAD,)
        )

    def _delete(self, statement: str, argument: object) -> int:
        sizes = self._db.execute(statement, (argument,)).fetchall()
        self.rows -= len(sizes)
        self.bytes -= sum(size for (size,) in sizes)
        return len(sizes)

    def _make_room(self, change: Change, bounds: Bounds, dropped: Counter[str]) -> list[Row]:
        """The rows that come in; the policy decides which goes where not all have room."""
        rows = list(change.rows)
        if bounds.policy == "reject":  # no new sample is taken: those under way still come in
            return rows
        while excess := self._excess(rows, bounds):
            bound, over = excess
            if bounds.policy == "drop_oldest" and self.rows:
                dropped[bound] += self._delete(OLDEST, over)
            elif rows:
                dropped[bound] += min(over, len(rows))
                rows = rows[over:] if bounds.policy == "drop_oldest" else rows[:-over]
            else:
                break  # the bounds were wider when these came in
        return rows

    def _excess(self, rows: list[Row], bounds: Bounds) -> tuple[str, int] | None:
        """The bound that is passed most, and about how many rows have to go for it; None within both."""
        count, size = self.rows + len(rows), self.bytes + sum(len(row.payload) for row in rows)
        excess = {
            "rows": count - bounds.max_rows,
            "bytes": ceil((size - bounds.max_bytes) * count / size) if size else 0,
        }
        bound = max(excess, key=excess.__getitem__)
        return (bound, min(excess[bound], count)) if excess[bound] > 0 else None

    def _insert(self, rows: Iterable[Row], change: Change, now: float) -> None:
        self.put_rows((seq, now, payload) for seq, payload in rows)
        answered = set(change.releases.values())
        for held in change.holds.values():
            if held.id not in answered:
                self.put_held(now, held)
        for name in answered:
            gone = self._db.execute("DELETE FROM held WHERE id = ? RETURNING size", (name,)).fetchall()
            self.held -= len(gone)
            self.held_bytes -= sum(size for (size,) in gone)

    def put_rows(self, rows: Iterable[tuple[int, float, bytes]]) -> None:
        """Rows by number, birth and payload."""
        sealed = [(seq, born, seal(seq, born, payload), payload) for seq, born, payload in rows]
        self._db.executemany("INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?)", sealed)
        self.rows += len(sealed)
        self.bytes += sum(len(row[3]) for row in sealed)

    def put_dead(self, born: float, payload: bytes, reason: str) -> None:
        sealed = seal_dead(born, payload, reason)
        self._db.execute("INSERT INTO dead VALUES (NULL, ?, ?, ?, ?, 0)", (born, sealed, payload, reason))

    def put_held(self, born: float, held: Held) -> None:
        sealed, size = seal_held(born, held), len(held.payload)
        self._db.execute(
            "INSERT INTO held VALUES (NULL, ?, ?, ?, ?, ?, ?)",
            (born, sealed, held.payload, held.id, held.confidence, size),
        )
        self.held += 1
        self.held_bytes += size

    def _roll_back(self) -> None:
        with suppress(sqlite3.Error):  # some errors have rolled back already
            self._db.execute("ROLLBACK")

    def _one(self, query: str) -> Any:
        return self._db.execute(query).fetchone()[0]
