"""Outboxes under test, without a node around them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from edge_node import config
from edge_node.metrics import Meter
from edge_node.outbox import Outbox, Row
from protos import result as contract
from tests.results import result

PATIENCE = 20.0
"""Seconds; only a broken outbox needs them."""


class Box(Outbox):
    """An outbox that makes its own results."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.meter = Meter()
        super().__init__(config.Outbox(**{"linger": 0.001, "ballast": 0, **settings}), folder, self.meter)

    def put(self, count: int, sample: str = "x", **more: Any) -> None:
        """The next so many results, of this sample; ``more`` goes with the last."""
        for left in reversed(range(count)):
            seq = self._last + 1
            made = result(
                id=f"lab.a.{self.session}.{seq}",
                seq=seq,
                stream=self.stream,
                sample=sample,
                error=f"{seq:0500}",
            )
            self.append(made, **(more if not left else {}))

    def settle(self) -> None:
        """Wait until all that was said is on the disk."""
        until = time.monotonic() + PATIENCE
        while not self._settled():
            assert time.monotonic() < until
            Event().wait(0.0005)  # not sleep(): where the clock is faked, that fails

    def _settled(self) -> bool:
        with self._lock:
            return not self._pending and not self._writing

    def all(self) -> list[int]:
        """Numbers of what waits."""
        return [row.seq for row in self.rows(-1, 10**9)]

    def dropped(self, reason: str) -> int:
        """Results counted as lost for it."""
        return int(
            self.meter.registry.get_sample_value("tidegate_dropped_results_total", {"reason": reason}) or 0
        )

    def recoveries(self) -> int:
        return int(self.meter.registry.get_sample_value("tidegate_outbox_recoveries_total") or 0)


@contextmanager
def box(folder: Path, **settings: Any) -> Iterator[Box]:
    """An outbox that is open."""
    with Box(folder, **settings) as outbox:
        yield outbox


def ids(rows: list[Row]) -> list[str]:
    return [contract.decode(row.payload).id for row in rows]
