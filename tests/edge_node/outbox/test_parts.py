"""A change too large for one transaction: the power may fail between any two of its parts."""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from edge_node.bookmark import OrderedBookmark
from edge_node.outbox import Held
from edge_node.outbox.change import Change, Row
from edge_node.outbox.database import Connection
from edge_node.outbox.files import DATABASE
from edge_node.outbox.format import decode_state
from tests.outboxes import box

RESULTS = 100
LARGE = b"x" * 50_000


class Watched:
    """A connection that looks at the database after each transaction, as who comes after a crash would."""

    def __init__(self, connection: Connection, path: Path) -> None:
        self._connection, self._path = connection, path
        self.seen: list[tuple[set[int], set[str], bytes]] = []
        """Numbers of the rows, ids of the held inputs, the bookmark."""

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Any:
        answer = self._connection.execute(sql, parameters)
        if sql == "COMMIT":
            self._look()
        return answer

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        return self._connection.executemany(sql, parameters)

    def close(self) -> None:
        self._connection.close()

    def _look(self) -> None:
        with closing(sqlite3.connect(self._path)) as database:
            rows = {seq for (seq,) in database.execute("SELECT seq FROM result")}
            held = {name for (name,) in database.execute("SELECT id FROM held")}
            state = decode_state(*database.execute("SELECT seal, body FROM state").fetchone())
        assert state
        self.seen.append((rows, held, state.bookmarks["source"]))


def test_what_belongs_to_a_result_is_in_its_transaction(tmp_path: Path) -> None:
    bookmark = OrderedBookmark()
    places = list(bookmark.left((0, row) for row in range(RESULTS)))
    change = Change()
    for seq, place in enumerate(reversed(places)):  # as when the cloud answers the first one last
        change.rows.append(Row(seq, LARGE))
        change.places[seq] = place
        change.holds[seq] = Held(str(seq), 0.5, b"input")
    with box(tmp_path) as outbox:
        outbox.follow("source", bookmark)
        watched = outbox._disk._store._db = Watched(outbox._disk._store._db, tmp_path / DATABASE)
        outbox._disk.write(change, RESULTS)
    assert len(watched.seen) > 3
    for rows, held, saved in watched.seen:
        assert held == {str(seq) for seq in rows}
        left = OrderedBookmark(saved).left(places)
        assert set(left) == {(0, RESULTS - 1 - seq) for seq in range(RESULTS) if seq not in rows}
