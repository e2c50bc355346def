"""A database from its URL: SQLite or PostgreSQL, and what each needs to be told."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from sqlite3 import Connection as Sqlite
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from cloud_server.config import Fleet
from cloud_server.errors import DatabaseError
from cloud_server.fleet import secrets

_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}
_CONNECT: dict[str, dict[str, Any]] = {
    "sqlite": {"timeout": 5.0},
    "postgresql": {"connect_timeout": 5, "tcp_user_timeout": 10_000, "application_name": "tidegate"},
}
"""A database that is away is noticed within seconds: the broker has the messages meanwhile."""

WRITES = "tidegate_writes"
"""Option of an engine or connection whose transactions write."""
Insert = Callable[..., Any]
"""Makes an INSERT that knows ON CONFLICT."""
insertion: Mapping[str, Insert] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
"""That of each database."""


def connect(settings: Fleet) -> Engine:
    """An engine, not connected yet; ``DatabaseError`` if there can be none for this URL."""
    url = _url(settings)
    try:
        told = _CONNECT[url.get_backend_name()]
        engine = create_engine(url, connect_args=told, hide_parameters=True)
    except ImportError as error:
        raise DatabaseError(f"{error.name} is missing: pip install 'tidegate[fleet]'") from None
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _durable)
        event.listen(engine, "begin", _begin)
    return engine


def _url(settings: Fleet) -> URL:
    if settings.database is None:
        return URL.create("sqlite", database=str(_state() / "fleet.sqlite"))
    try:
        url = make_url(settings.database)
    except ArgumentError:
        raise DatabaseError("no URL of a database: sqlite:///FILE or postgresql://USER@HOST/NAME") from None
    if url.get_backend_name() not in _DRIVERS:
        raise DatabaseError(f"{url.get_backend_name()} is neither sqlite nor postgresql")
    if url.password is not None:
        raise DatabaseError("the password belongs into a file: database_password_file")
    return url.set(
        drivername=_DRIVERS[url.get_backend_name()],
        password=secrets.password(settings.database_password_file),
    )


def _state() -> Path:
    """The folder that systemd gives a service, else the user's."""
    if given := os.environ.get("STATE_DIRECTORY"):
        return Path(given)
    folder = Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state", "tidegate")
    try:
        folder = folder.expanduser()
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError) as error:
        raise DatabaseError(f"no place for the default file in {folder}: {error}") from None
    return folder


def _durable(connection: Sqlite, _record: object) -> None:
    """What is committed survives a power cut; and Python's driver leaves transactions to us."""
    connection.isolation_level = None
    for pragma in ("journal_mode = wal", "synchronous = full"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """SQLite's only lock is that of the whole file: a writer takes it at once, or two meet half-way."""
    writes = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
