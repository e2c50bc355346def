"""Databases of both kinds: each test that asks for one runs with each."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.postgres import Cluster, cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A server for all tests that leave it alone."""
    with cluster() as made, made.running():
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a new database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/fleet.sqlite"
    name = f"fleet_{uuid4().hex[:8]}"
    server: Cluster = request.getfixturevalue("postgres")
    server.execute(f"CREATE DATABASE {name}")
    return server.url(name)
