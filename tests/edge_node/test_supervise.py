"""What a node tells systemd while it runs."""

from collections.abc import Iterator
from pathlib import Path
from threading import Semaphore

import pytest

from edge_node.supervise import watchdog
from tests.deploy.supervisor import Supervisor

PERIOD = 0.05
LONG_AGO = -1e6
"""By the monotonic clock."""


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", str(supervisor.address))
    monkeypatch.setenv("WATCHDOG_USEC", str(int(PERIOD * 1e6)))
    yield supervisor
    supervisor.close()


class Work:
    """Says since when it goes on, and counts how often it is asked."""

    def __init__(self, since: float | None) -> None:
        self.since = since
        self.asked = Semaphore(0)

    def __call__(self) -> float | None:
        self.asked.release()
        return self.since


def test_a_node_that_waits_for_samples_is_well(supervisor: Supervisor) -> None:
    with watchdog(Work(None)):
        assert [supervisor.next(), supervisor.next()] == ["WATCHDOG=1", "WATCHDOG=1"]


def test_a_sample_that_never_ends_is_told_by_silence(supervisor: Supervisor) -> None:
    work = Work(LONG_AGO)
    with watchdog(work):
        for _ in range(5):
            assert work.asked.acquire(timeout=10)
        assert supervisor.silent()
        work.since = None
        assert supervisor.next() == "WATCHDOG=1"


def test_without_a_watchdog_nobody_is_told(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WATCHDOG_USEC")
    work = Work(None)
    with watchdog(work):
        pass
    assert not work.asked.acquire(blocking=False)
    assert supervisor.silent()
