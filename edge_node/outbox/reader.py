"""Reading beside the writer: what waits, from the disk."""

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any

from edge_node.outbox.change import Held, Row
from edge_node.outbox.database import connect
from edge_node.outbox.format import seal, seal_held

Spoilt = Callable[[int], None]
"""Told the number of a row that is not what was written."""


class Reader:
    """A connection of its own, for any thread; each call is one short transaction."""

    def __init__(self, path: Path) -> None:
        self._db = connect(path)
        self._db.execute("PRAGMA query_only = ON")
        self._lock = Lock()

    def rows(self, after: int, limit: int, before: int, spoilt: Spoilt) -> list[Row]:
        """Rows with ``after < seq < before``, in order."""
        found = self._all(
            "SELECT seq, born, seal, payload FROM result WHERE seq > ? AND seq < ? ORDER BY seq LIMIT ?",
            after,
            before,
            limit,
        )
        rows = []
        for seq, born, sealed, payload in found:
            if seal(seq, born, payload) == sealed:
                rows.append(Row(seq, payload))
            else:
                spoilt(seq)
        return rows

    def held(self, limit: int) -> list[Held]:
        """Held inputs, least certain first; a damaged one is passed over."""
        return self._held("SELECT * FROM held ORDER BY confidence, n LIMIT ?", limit)

    def surplus(self, limit: int, excess: int, born: float) -> list[Held]:
        """Held inputs from before ``born``, and the surest until ``excess`` bytes are gone."""
        old = self._held("SELECT * FROM held WHERE born < ? ORDER BY n LIMIT ?", born, limit)
        if excess <= 0:
            return old
        sure = self._held(
            """SELECT * FROM held WHERE n IN (SELECT n FROM (
                SELECT n, sum(size) OVER (ORDER BY confidence DESC, n DESC) - size AS surer FROM held
            ) WHERE surer < ? LIMIT ?)""",
            excess,
            limit,
        )
        return list({held.id: held for held in (*old, *sure)}.values())[:limit]

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _held(self, query: str, *arguments: object) -> list[Held]:
        found = self._all(query, *arguments)
        rows = [
            (born, sealed, Held(name, sure, payload)) for _, born, sealed, payload, name, sure, _ in found
        ]
        return [held for born, sealed, held in rows if seal_held(born, held) == sealed]

    def _all(self, query: str, *arguments: object) -> list[tuple[Any, ...]]:
        with self._lock:
            found: list[tuple[Any, ...]] = self._db.execute(query, arguments).fetchall()
            return found
