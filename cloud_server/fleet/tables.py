"""The tables. Times are seconds since 1970, the same in every database; the server's clock unless said."""

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()


def _row() -> "Column[int]":
    """A number of the row; SQLite counts only what is called INTEGER."""
    return Column("row", BigInteger().with_variant(Integer, "sqlite"), primary_key=True)


def _stream(*, primary_key: bool = False) -> "tuple[Column[str], Column[str], Column[int]]":
    return (
        Column("site", String(64), primary_key=primary_key, nullable=False),
        Column("node", String(64), primary_key=primary_key, nullable=False),
        Column("stream", BigInteger, primary_key=primary_key, nullable=False, autoincrement=False),
    )


results = Table(
    "results",
    metadata,
    _row(),
    *_stream(),
    Column("seq", BigInteger, nullable=False),
    Column("id", Text, nullable=False),
    Column("state", String(16), nullable=False),
    Column("captured_at", Double, nullable=False),  # by the node's clock
    Column("received_at", Double, nullable=False),
    Column("route", String(16), nullable=False),
    Column("reason", String(32), nullable=False),
    Column("label", Text),
    Column("confidence", Double),
    Column("latency_ms", Double, nullable=False),
    Column("payload", Text, nullable=False),
    UniqueConstraint("site", "node", "id", "state"),
    Index("results_received_at", "received_at"),
)
"""Every result once."""

refused = Table(
    "refused",
    metadata,
    _row(),
    *_stream(),
    Column("seq", BigInteger, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("payload", LargeBinary, nullable=False),
    UniqueConstraint("site", "node", "stream", "seq"),
    Index("refused_received_at", "received_at"),
)
"""Messages with a number that are no results, as they came: confirmed, so that they hold up nothing."""

streams = Table(
    "streams",
    metadata,
    *_stream(primary_key=True),
    Column("upto", BigInteger, nullable=False),
    Column("ahead", Text, nullable=False),  # JSON, [[first, last], ...]
)
"""How far each stream has come; its row is the lock of all that belongs to it."""

gaps = Table(
    "gaps",
    metadata,
    *_stream(primary_key=True),
    Column("first", BigInteger, primary_key=True, autoincrement=False),
    Column("last", BigInteger, nullable=False),
    Column("known_since", Double, nullable=False),
)
"""Numbers that will never come: their node dropped them."""
