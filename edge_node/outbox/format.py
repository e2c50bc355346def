"""The database of the outbox: its tables, and the seals by which a damaged row is known.

Each table has a number of columns of its own, so that a row says what it is even on a page found
without a database around it (``salvage.py``).
"""

from struct import Struct
from zlib import crc32

import msgspec

from edge_node.outbox.change import Held
from edge_node.outbox.clock import Moment

SCHEMA = """
CREATE TABLE state (id INTEGER PRIMARY KEY, seal INTEGER, body BLOB) STRICT;
CREATE TABLE result (seq INTEGER PRIMARY KEY, born REAL, seal INTEGER, payload BLOB) STRICT;
CREATE TABLE dead (
    n INTEGER PRIMARY KEY, born REAL, seal INTEGER, payload BLOB, reason TEXT, retry INTEGER
) STRICT;
CREATE TABLE held (
    n INTEGER PRIMARY KEY, born REAL, seal INTEGER, payload BLOB, id TEXT, confidence REAL, size INTEGER
) STRICT;
CREATE INDEX held_id ON held (id);
CREATE INDEX held_confidence ON held (confidence, size);
"""
_KEY = Struct("<qd")


class State(msgspec.Struct, frozen=True):
    """All that the outbox remembers beside its rows."""

    stream: int = 0
    """Number of this count of results: the session in which it was begun."""
    session: int = 0
    """Number of the last start of the node."""
    next_seq: int = 0
    """The first that was never written."""
    commits: int = 0
    """Transactions ever: which of two states is the later."""
    moment: Moment = Moment()
    """When this was written."""
    bookmarks: dict[str, bytes] = {}
    """Where each source goes on."""


def seal(key: int, born: float, payload: bytes) -> int:
    """Checksum of a row: SQLite has none, and a flipped bit in a payload is no error to it."""
    return crc32(payload, crc32(_KEY.pack(key, born)))


def seal_dead(born: float, payload: bytes, reason: str) -> int:
    """The same of a dead letter."""
    return seal(len(reason), born, payload + reason.encode())


def seal_held(born: float, held: Held) -> int:
    """The same of a held input."""
    return seal(len(held.payload), born, _KEY.pack(0, held.confidence) + held.payload + held.id.encode())


def encode_state(state: State) -> tuple[int, bytes]:
    """Seal and body of the one row of the table."""
    body = msgspec.msgpack.encode(state)
    return crc32(body), body


def decode_state(sealed: int, body: bytes) -> State | None:
    """The state; ``None`` if it is damaged."""
    try:
        return msgspec.msgpack.decode(body, type=State) if crc32(body) == sealed else None
    except msgspec.DecodeError:
        return None
