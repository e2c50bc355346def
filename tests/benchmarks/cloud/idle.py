"""What a server takes before anybody asks it anything."""

import statistics
import time
from pathlib import Path

from protos.wire import UNREST
from tests.benchmarks.cloud import nets
from tests.benchmarks.cloud.client import Client, Task
from tests.benchmarks.cloud.contenders import ALONE, ECHO
from tests.benchmarks.cloud.process import count, cpu_seconds, megabytes
from tests.benchmarks.table import Row

TITLE = f"at rest, {UNREST + 1:.0f} s after the small network has been loaded and asked once"
STARTS, REST = 3, 4.0
"""Starts, of which the median counts, and seconds of rest after the last."""


def measure(folder: Path, starts: int, only: frozenset[str]) -> list[Row]:
    """One server after another, alone."""
    model = nets.small(folder / "small.onnx")
    with Client() as client:
        return [
            _row(client, folder / name, model, name, starts)
            for name in ALONE
            if name != ECHO and (not only or name in only)
        ]


def _row(client: Client, folder: Path, model: Path, name: str, starts: int) -> Row:
    took = []
    for start in range(starts):
        place = folder / f"{start}"
        place.mkdir(parents=True)
        with ALONE[name](place, model) as peer:
            took.append(peer.took)
            client.do(Task(model=str(model), pixels=96, target=peer.target))
            if start + 1 == starts:
                return _rest(name, took, peer.pid)
    raise AssertionError


def _rest(name: str, took: list[float], pid: int) -> Row:
    time.sleep(UNREST + 1)  # ours looks at its sockets more often until then
    before = cpu_seconds(pid)
    time.sleep(REST)
    return {
        "server": name,
        "ready after, s": statistics.median(took),
        "memory (PSS), MB": megabytes(pid),
        "CPU at rest, %": 100 * (cpu_seconds(pid) - before) / REST,
        "processes": count(pid),
    }
