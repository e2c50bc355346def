"""A PostgreSQL of the tests' own, in a folder of its own, reached by a socket in it and nothing else."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import psycopg

from deploy.demo.processes import Child, wait_until
from tests.services import require

PATIENCE = 30.0
USER = "nobody"
"""Who runs it when root runs the tests: PostgreSQL refuses to be root."""


@dataclass(frozen=True)
class Cluster:
    """A server that runs, or can."""

    folder: Path

    def url(self, database: str) -> str:
        """Of a database in it, for `[fleet] database`."""
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """One statement, outside a transaction; its rows if it has any."""
        where = f"host={self.folder} user=postgres dbname={database}"
        with psycopg.connect(where, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def running(self, *, fsync: bool = False) -> Iterator[Child]:
        """The server, until it is killed on leaving; what was committed is there the next time."""
        options = ["-c", "listen_addresses=", "-k", str(self.folder), "-c", f"fsync={fsync}"]
        command = [*_unprivileged(), require("postgres"), "-D", self.folder / "data", *options]
        with Child("postgres", command, self.folder / "log") as child:
            assert wait_until(lambda: child.poll() is not None or self._answers(), PATIENCE)
            assert child.poll() is None, child.last_line()
            try:
                yield child
            finally:
                crash(child)

    def _answers(self) -> bool:
        try:
            return bool(self.execute("SELECT 1"))
        except psycopg.OperationalError:
            return False


def crash(child: Child) -> None:
    """End a server at once: what was not committed is gone, and so are all connections."""
    if child.poll() is None:
        os.kill(child.pid, signal.SIGQUIT)
        child.wait(PATIENCE)


@contextmanager
def cluster() -> Iterator[Cluster]:
    """A new server's folder, where any user may come; gone on leaving."""
    initdb = require("initdb")
    folder = Path(mkdtemp(prefix="tidegate-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, USER)
        command = [
            *_unprivileged(),
            initdb,
            "-D",
            folder / "data",
            "-U",
            "postgres",
            "-E",
            "UTF8",
            "--no-sync",
        ]
        subprocess.run([*command, "--no-locale", "-A", "trust"], check=True, capture_output=True, cwd=folder)
        yield Cluster(folder)
    finally:
        shutil.rmtree(folder)


def _unprivileged() -> list[str | Path]:
    """What to put before a command so that it is not root, and still ends when we do."""
    if os.geteuid() != 0:
        return []
    return [require("setpriv"), "--reuid", USER, "--clear-groups", "--pdeathsig", "KILL"]
