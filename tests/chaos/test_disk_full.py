"""A full disk: the node stays up, every lost result is counted, and it recovers without a restart."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from deploy.demo.processes import HOST, wait_until
from protos.artifact import Artifact
from tests.chaos.sink_stand import LONG, sink
from tests.ledger import exposition, value
from tests.mqtt import kill, mosquitto, restart
from tests.nodes import opened, settings
from tests.outboxes import PATIENCE, Box, box

SIZE = 4 * 2**20
BALLAST = 5 * 2**18


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(path)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system: run as root")
    yield path
    subprocess.run(["umount", path], check=True)


def fill(disk: Path) -> None:
    """Somebody else takes all that is left."""
    with (disk / "filler").open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass


def free(disk: Path) -> None:
    (disk / "filler").unlink()


def room(disk: Path) -> int:
    facts = os.statvfs(disk)
    return facts.f_bavail * facts.f_frsize


def accounted(outbox: Box, confirmed: int) -> int:
    """Results that wait, that were confirmed and that were counted as lost."""
    return (
        len(outbox.all()) + confirmed + sum(outbox.dropped(reason) for reason in ("disk", "bytes", "corrupt"))
    )


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_a_full_disk_loses_what_it_counts_and_recovers(disk: Path, policy: str) -> None:
    with box(disk / "box", policy=policy, ballast=BALLAST) as outbox:
        outbox.put(100)
        outbox.settle()
        fill(disk)
        for _ in range(200):  # far more than there is room for
            outbox.put(20)
            assert wait_until(lambda: outbox.depth().rows >= 100, PATIENCE)
        assert wait_until(lambda: outbox.dropped("disk") > 0, PATIENCE)
        fill(disk)  # the ballast, too
        outbox.put(100)
        free(disk)
        outbox.settle()
        assert wait_until(lambda: outbox._disk.tight is None, PATIENCE)
        outbox.put(100)
        outbox.settle()
        sent = outbox._last + 1
        assert accounted(outbox, 0) == sent
        lost = outbox.dropped("disk")
        outbox.put(500)  # it takes all there is again
        outbox.settle()
        assert outbox.dropped("disk") == lost
        assert accounted(outbox, 0) == sent + 500
        assert (disk / "box/ballast").stat().st_size == BALLAST
    with box(disk / "box", policy=policy, ballast=BALLAST) as outbox:
        assert outbox.recoveries() == 0


def test_a_node_answers_throughout_and_what_is_not_in_the_store_was_counted(
    disk: Path, tmp_path: Path, artifact: Artifact
) -> None:
    """A whole node: the broker is away, the disk fills up, both come back."""
    with mosquitto(tmp_path, "allow_anonymous true") as broker, sink(broker, tmp_path) as stand:
        told = {
            "mqtt": {"host": HOST, "port": broker.port},
            "outbox": {"path": str(disk / "box"), "linger": 0.01, "confirm": "sink", "ballast": BALLAST},
        }
        with opened(settings(tmp_path, artifact, **told)) as node:
            made = 0

            def answer() -> None:
                nonlocal made
                for _ in range(100):
                    made += node.infer(np.array([0, 5, 0], np.float32)).label is not None

            def metric(name: str, **labels: str) -> float:
                return value(exposition(node.meter.registry), f"tidegate_{name}", **labels)

            answer()
            assert wait_until(lambda: metric("queued_results") == 0, LONG)
            kill(broker)
            fill(disk)
            while not metric("dropped_results_total", reason="disk"):
                answer()
                assert made < 50_000, "a disk of 4 MB takes them all"
            free(disk)
            restart(broker)
            assert wait_until(lambda: metric("queued_results") == 0, LONG)
            answer()
            assert wait_until(lambda: metric("queued_results") == 0, LONG)
            assert stand.count("a") == made - metric("dropped_results_total")
            assert stand.duplicates() == 0


def test_a_full_disk_still_lets_go_of_what_was_confirmed(disk: Path) -> None:
    with box(disk / "box", ballast=BALLAST) as outbox:
        for _ in range(20):  # small transactions: the log has not grown to the size of a large one
            outbox.put(50)
            outbox.settle()
        fill(disk)
        outbox.confirm(999)
        outbox.put(1000)
        outbox.settle()
        assert accounted(outbox, 1000) == 2000
        outbox.confirm(outbox.committed())
        outbox.settle()
        assert outbox.all() == []


def test_reject_takes_no_more_and_loses_nothing(disk: Path) -> None:
    with box(disk / "box", policy="reject", ballast=BALLAST) as outbox:
        outbox.put(100)
        outbox.settle()
        fill(disk)
        sent = 100
        while not outbox.full:
            outbox.put(10)
            sent += 10
            assert wait_until(lambda: outbox.committed() == outbox._last or outbox._refused, PATIENCE)
        free(disk)
        assert wait_until(lambda: not outbox.full, PATIENCE)
        outbox.settle()
        assert outbox.all() == list(range(sent))
        assert accounted(outbox, 0) == sent


def test_a_node_starts_on_a_disk_that_is_full(disk: Path) -> None:
    with box(disk / "box", ballast=BALLAST) as outbox:
        outbox.put(100)
    fill(disk)
    with box(disk / "box", ballast=BALLAST) as outbox:
        assert len(outbox.all()) == 100
        outbox.put(1)
        outbox.settle()
        assert len(outbox.all()) == 101


def test_without_a_ballast_a_full_disk_would_stay_so(disk: Path) -> None:
    """Finding: on a full disk not even a deletion is possible."""
    with box(disk / "box", ballast=0, policy="reject") as outbox:
        outbox.put(100)
        outbox.settle()
        fill(disk)
        outbox.put(2000)
        assert wait_until(lambda: outbox._refused, PATIENCE)
        outbox.confirm(50)
        assert wait_until(lambda: outbox._pending.confirmed_upto == 50, PATIENCE)
        assert outbox._refused
        free(disk)
        outbox.settle()
        assert outbox.all()[0] == 51
