"""A broker that is away while results pile up and the node is restarted: all is stored once, soon after."""

import re
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deploy.demo.processes import HOST, wait_until
from protos.artifact import Artifact
from tests.chaos.sink_stand import LONG, sink
from tests.ledger import value
from tests.mqtt import kill, mosquitto, restart
from tests.nodes import NodeProcess, settings, started, write_config
from tests.nodes import opened as node_opened

GROWTH = 20 * 2**20
"""Bytes that a node's memory may grow by while it spools."""
FLUSH = 15.0
"""Seconds that a node without a broker goes on once its source has ended, while we look at it."""
RATE = 1000
"""Results replayed a second, as is the default."""


def rows(folder: Path, count: int) -> Path:
    """A source of so many samples, of which the edge is sure."""
    path = folder / "rows.npy"
    np.save(path, np.tile(np.array([0, 5, 0], np.float32), (count, 1)))
    return path


def resident(node: NodeProcess, kind: str) -> int:
    """Bytes of memory: now (``VmRSS``) or at most so far (``VmHWM``)."""
    found = re.search(rf"{kind}:\s+(\d+) kB", Path(f"/proc/{node.popen.pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def waiting(node: NodeProcess) -> float:
    return value(node.metrics(), "tidegate_queued_results")


def spooled(node: NodeProcess, count: int) -> bool:
    return wait_until(lambda: waiting(node) >= count, LONG)


def spool(folder: Path, config: Path, count: int, *, killed: bool) -> int:
    """A node until so many results wait, and its end; bytes that its memory grew by."""
    with started(folder, config) as node:
        assert spooled(node, 500)
        before = resident(node, "VmRSS")
        assert spooled(node, count)
        grown = resident(node, "VmHWM") - before
        if killed:
            node.signal(signal.SIGKILL)
        node.wait()
    return grown


def outage(folder: Path, artifact: Artifact, count: int) -> tuple[float, int]:
    """Seconds to drain so many results, spooled over ends of the node; bytes that its memory grew by."""
    with mosquitto(folder, "allow_anonymous true") as broker, sink(broker, folder) as stand:
        kill(broker)
        common: dict[str, Any] = {
            "mqtt": {"host": HOST, "port": broker.port, "flush": FLUSH},
            "outbox": {"path": str(folder / "outbox"), "confirm": "sink"},
        }
        source = {"kind": "array", "path": str(rows(folder, count))}
        config = write_config(folder, artifact, source=source, **common)
        grown = [spool(folder, config, part, killed=True) for part in (count // 3, 2 * count // 3)]
        grown.append(spool(folder, config, count, killed=False))
        config = write_config(folder, artifact, source={"kind": "stdin"}, **common)
        with started(folder, config) as node:
            before = resident(node, "VmRSS")
            restart(broker)
            since = time.monotonic()
            assert wait_until(lambda: stand.count("a") == count, 2 * LONG + count / RATE)
            seconds = time.monotonic() - since
            grown.append(resident(node, "VmHWM") - before)
        assert stand.seqs("a") == list(range(count))
        assert stand.duplicates() == 0
    return seconds, max(grown)


def test_what_piles_up_while_the_broker_is_away_is_stored_once(tmp_path: Path, artifact: Artifact) -> None:
    _, grown = outage(tmp_path, artifact, 5000)
    assert grown < GROWTH


@pytest.mark.slow
def test_a_hundred_thousand_results_are_drained_within_two_minutes(
    tmp_path: Path, artifact: Artifact
) -> None:
    seconds, grown = outage(tmp_path, artifact, 100_000)
    print(f"100,000 results drained in {seconds:.0f} s; memory grew by {grown / 2**20:.1f} MB")  # noqa: T201
    assert seconds <= 120
    assert grown < GROWTH


def test_what_finds_no_room_is_lost_and_counted(tmp_path: Path, artifact: Artifact) -> None:
    """The negative: with an outbox that is too small the same outage does lose results."""
    told: dict[str, Any] = {
        "mqtt": {"host": HOST, "port": 1, "flush": 0},
        "outbox": {"path": str(tmp_path / "outbox"), "max_rows": 100},
    }
    with node_opened(settings(tmp_path, artifact, **told)) as node:
        for _ in range(500):
            node.infer(np.array([0, 5, 0], np.float32))
        registry = node.meter.registry
        lost = {"reason": "rows"}
        assert wait_until(
            lambda: registry.get_sample_value("tidegate_dropped_results_total", lost) == 400, LONG
        )
