"""A connection to the database of the outbox, and what its errors mean."""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol


class Connection(Protocol):
    """What a store needs of a connection: ``sqlite3`` has it, and so has the simulator of power cuts."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Any: ...
    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any: ...
    def close(self) -> None: ...


class Damaged(Exception):
    """The database is not what it was when it was written: says in what."""


_PASSING = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
}
_NOT_PASSING = {
    sqlite3.SQLITE_IOERR_SHORT_READ,
    sqlite3.SQLITE_IOERR_READ,
    sqlite3.SQLITE_IOERR_DATA,
    sqlite3.SQLITE_IOERR_CORRUPTFS,
}


def passing(error: Exception) -> bool:
    """Whether the disk refuses only for now; otherwise what is on it is damaged."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _PASSING and code not in _NOT_PASSING


def connect(path: Path) -> Connection:
    """A connection whose transactions are ours to begin and end, for any one thread."""
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5)
