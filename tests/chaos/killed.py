"""A source, an outbox and whoever receives its results, in a process that kills itself at a named point."""

import os
import signal
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

from edge_node.bookmark import OrderedBookmark
from edge_node.outbox.database import Connection
from protos import result as contract
from tests.outboxes import Box

POINTS = {
    "before insert": ("INSERT OR REPLACE INTO result", False),
    "after insert": ("INSERT OR REPLACE INTO result", True),
    "before commit": ("COMMIT", False),
    "after commit": ("COMMIT", True),
    "before delete": ("DELETE FROM result WHERE seq <=", False),
    "after delete": ("DELETE FROM result WHERE seq <=", True),
    "before checkpoint": ("PRAGMA wal_checkpoint", False),
    "after checkpoint": ("PRAGMA wal_checkpoint", True),
}
"""What a statement begins with, and whether it is over."""
SAMPLES = 300
TRANSACTION = 7
"""Samples of one transaction."""
RECEIVED = "received"


class Deadly:
    """A connection that kills the process when it comes to its point for the so many-th time."""

    def __init__(self, connection: Connection, point: str, count: int) -> None:
        self._connection, self._left = connection, count
        self._words, self._after = POINTS[point]

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Any:
        return self._run(self._connection.execute, sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        return self._run(self._connection.executemany, sql, parameters)

    def close(self) -> None:
        self._connection.close()

    def _run(self, method: Any, sql: str, parameters: Any) -> Any:
        fatal = sql.startswith(self._words)
        self._left -= fatal
        if fatal and not self._left and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = method(sql, parameters)
        if fatal and not self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer


def live(folder: Path, point: str | None = None, count: int = 0, *, careful: bool = True) -> None:
    """Go on with the source where it was, to its end or to the fatal point.

    Not ``careful``: the place in the source is kept in a file of its own, as one might think is enough.
    """
    note = folder / "note"
    with Box(folder) as outbox, _receiver(folder) as received:
        if point:
            outbox._disk._store._db = Deadly(outbox._disk._store._db, point, count)
        saved = outbox.bookmark("source") if careful else note.read_bytes() if note.exists() else None
        bookmark = OrderedBookmark(saved)
        outbox.follow("source", bookmark)
        left = bookmark.left((0, row) for row in range(SAMPLES))
        sent = -1
        while places := list(islice(left, TRANSACTION)):
            if not careful:
                bookmark.finish(places)
                note.write_bytes(bookmark.dump())
            for place in reversed(places):  # results of deferred samples come late
                outbox.put(1, place=place, sample=str(place[1]))
            outbox.settle()
            for row in outbox.rows(sent, SAMPLES):
                received.write(row.payload + b"\n")
                sent = row.seq
            outbox.confirm(max(-1, sent - 3 * TRANSACTION))
            outbox.settle()
            outbox._disk._store.checkpoint()


def _receiver(folder: Path) -> BinaryIO:
    """Takes messages whole or not at all, as a broker does: what a kill cut off has not arrived."""
    file = (folder / RECEIVED).open("ab+", buffering=0)
    file.seek(0)
    file.truncate(file.read().rfind(b"\n") + 1)
    return cast("BinaryIO", file)


def received(folder: Path) -> list[contract.Result]:
    """What has arrived, and what an outbox still has to send."""
    arrived = [contract.decode(line) for line in (folder / RECEIVED).read_bytes().splitlines()]
    with Box(folder) as outbox:
        return arrived + [contract.decode(row.payload) for row in outbox.rows(-1, SAMPLES)]
