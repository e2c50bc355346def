"""``cloud-server`` as a process of its own."""

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 60.0
"""Seconds; only a broken server needs them."""
COMMAND = [sys.executable, "-m", "cloud_server"]


@dataclass
class Process:
    """A server that has said that it is ready."""

    popen: subprocess.Popen[str]
    ready: str
    """What it said."""
    log: Path

    @property
    def address(self) -> str:
        return self.ready.split()[3].rstrip(",")

    def metrics(self) -> list[str]:
        """The lines of `/metrics`."""
        url = self.ready.split()[6].rstrip(",")
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            text: str = answer.read().decode()
            return text.splitlines()


@contextmanager
def started(
    folder: Path, *arguments: str | Path, command: Sequence[str] = COMMAND, **environ: str
) -> Iterator[Process]:
    """A server on free ports; killed on leaving, if it still runs."""
    log = folder / "stderr.log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [*command, "run", "--port", "0", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment(TIDEGATE_METRICS__PORT="0", **environ),
        ) as popen,
    ):
        try:
            assert popen.stdout
            yield Process(popen, popen.stdout.readline(), log)
        finally:
            popen.kill()


def finished(arguments: Sequence[str | Path], **environ: str) -> subprocess.CompletedProcess[str]:
    """A command that ends by itself."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
        env=environment(**environ),
    )


def environment(**extra: str) -> dict[str, str]:
    """Ours, without the settings of whoever runs the tests."""
    return {key: value for key, value in os.environ.items() if not key.startswith("TIDEGATE_")} | extra
