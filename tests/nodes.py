"""Nodes under test, in this process or in one of their own. None is left before its ledger is balanced."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any

import pytest

from deploy.demo.processes import wait_until
from edge_node import config
from edge_node.config import EdgeConfig
from edge_node.fallback import prober
from edge_node.node import EdgeNode
from edge_node.publisher import Publisher
from protos import result as contract
from protos.artifact import Artifact
from protos.result import Result
from tests.ledger import exposition, results_by_reason

PATIENCE = 20.0
"""Seconds; only a broken node needs them."""
LONGEST = 120.0
"""Seconds for a command that ends by itself: some take three of a core that twenty others want, too."""
COMMAND = [sys.executable, "-m", "edge_node.cli"]


def write_config(folder: Path, artifact: Artifact | Path, **sections: dict[str, Any]) -> Path:
    """A file of settings for node ``lab/a`` on free ports, with these sections over that."""
    directory = artifact.directory if isinstance(artifact, Artifact) else artifact
    defaults: dict[str, dict[str, Any]] = {
        "node": {"site": "lab", "name": "a"},
        "model": {"path": str(directory), "threads": 1},
        "metrics": {"port": 0},
        "outbox": {"path": str(folder / "outbox"), "linger": 0.01},
    }
    lines = []
    for section, keys in {**defaults, **sections}.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    path = folder / "node.toml"
    path.write_text("\n".join(lines))
    return path


def settings(folder: Path, artifact: Artifact | Path, **sections: dict[str, Any]) -> EdgeConfig:
    """The same, as settings."""
    return config.load(write_config(folder, artifact, **sections))


@contextmanager
def opened(settings: EdgeConfig | Path, publisher: Publisher | None = None) -> Iterator[EdgeNode]:
    """A node in this process."""
    with first_look(PATIENCE), EdgeNode.open(settings, publisher) as node:
        yield node
    results_by_reason(exposition(node.meter.registry))


@contextmanager
def first_look(seconds: float) -> Iterator[None]:
    """A node that starts waits so long for the cloud: on a busy machine one that is there may be slow."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(prober, "FIRST_LOOK", seconds)
        yield


def environment(**extra: str) -> dict[str, str]:
    """Ours, without the settings of whoever runs the tests."""
    return {key: value for key, value in os.environ.items() if not key.startswith("TIDEGATE_")} | extra


@dataclass(frozen=True)
class Ended:
    """What a command left."""

    code: int
    stdout: str
    stderr: str


def finished(
    *arguments: str | Path, stdin: bytes = b"", command: Sequence[str] = COMMAND, **environ: str
) -> Ended:
    """A command that ends by itself, without a traceback."""
    ended = subprocess.run(
        [*command, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
        timeout=LONGEST,
        env=environment(**environ),
    )
    assert b"Traceback" not in ended.stderr, ended.stderr.decode()
    return Ended(ended.returncode, ended.stdout.decode(), ended.stderr.decode())


class NodeProcess:
    """``edge-node run`` whose samples come from us."""

    def __init__(self, popen: "subprocess.Popen[bytes]", log: Path) -> None:
        self.popen = popen
        self.fed = 0
        self._log = log
        self._lines: Queue[bytes] = Queue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def feed(self, rows: Iterable[Any]) -> None:
        """Samples on its standard input."""
        assert self.popen.stdin
        for row in rows:
            self.popen.stdin.write(json.dumps(row).encode() + b"\n")
            self.fed += 1
        self.popen.stdin.flush()

    def results(self, count: int) -> list[Result]:
        """The next results on its standard output."""
        return [contract.decode(self._lines.get(timeout=PATIENCE)) for _ in range(count)]

    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text()

    def says(self, words: str) -> bool:
        """Whether it has said so, or says so soon."""
        return wait_until(lambda: words in self.log() or self.popen.poll() is not None, PATIENCE) and (
            words in self.log()
        )

    def metrics(self) -> str:
        """What `/metrics` says now."""
        url = re.search(r"metrics on (\S+)", self.log())
        assert url, self.log()
        with urllib.request.urlopen(url[1], timeout=PATIENCE) as answer:
            text: str = answer.read().decode()
            return text

    def accounts(self) -> dict[str, int]:
        """Results by reason, once every sample fed has its own."""
        assert wait_until(lambda: sum(_reasons(self.metrics()).values()) == self.fed, PATIENCE), self.log()
        return results_by_reason(self.metrics())

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait(self) -> int:
        """Its exit code; what it still wrote can be read then."""
        code = self.popen.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert "Traceback" not in self.log(), self.log()
        return code

    def stop(self) -> int:
        """Its exit code after SIGTERM, once its ledger is balanced."""
        self.accounts()
        self.signal(signal.SIGTERM)
        return self.wait()

    def _read(self) -> None:
        assert self.popen.stdout
        for line in self.popen.stdout:
            self._lines.put(line)


def _reasons(metrics: str) -> dict[str, int]:
    try:
        return results_by_reason(metrics)
    except AssertionError:  # a sample is under way
        return {}


@contextmanager
def started(folder: Path, config: Path, **environ: str) -> Iterator[NodeProcess]:
    """A node in a process of its own that runs; stopped on leaving, if the test did not end it itself."""
    log = folder / "node.log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            [*COMMAND, "run", "--config", config],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment(**environ),
        ) as popen,
    ):
        node = NodeProcess(popen, log)
        try:
            assert node.says("is running"), node.log()
            yield node
            if popen.poll() is None:
                assert node.stop() == 0
        finally:
            popen.kill()
