"""What a store holds, read past our own code; and what a node would send it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.engine import make_url

from cloud_server.config import Fleet, Mqtt
from cloud_server.fleet.arrival import Arrival, read
from cloud_server.fleet.store import Store
from protos import result as contract
from tests.results import result

NOWHERE = Mqtt(host="nobody.invalid")


def payload(seq: int, *, node: str = "a", stream: int = 7, **changes: Any) -> bytes:
    """A result of its own: an id for every number."""
    changes = {"id": f"lab.{node}.{stream}.{seq}", **changes}
    return contract.encode(result(node=node, seq=seq, stream=stream, **changes))


def arrival(seq: int, floor: int = 0, *, node: str = "a", **changes: Any) -> Arrival:
    return read(["lab", node], payload(seq, node=node, **changes), str(floor))


def settings(database: str, **changes: Any) -> Fleet:
    return Fleet(**{"mqtt": NOWHERE, "database": database, **changes})


@contextmanager
def opened(database: str) -> Iterator[Store]:
    store = Store.open(settings(database))
    try:
        store.prepare()
        yield store
    finally:
        store.close()


@contextmanager
def looking(database: str) -> Iterator[Connection]:
    url = make_url(database)
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def ask(database: str, query: str) -> list[tuple[Any, ...]]:
    with looking(database) as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def ids(database: str) -> list[str]:
    """Of all results, in the order of their storage."""
    return [name for (name,) in ask(database, 'SELECT id FROM results ORDER BY "row"')]
