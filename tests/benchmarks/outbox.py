"""What durability costs: the same node with its outbox and with a queue in memory, by turns; syncs a result.

Both publish by the same code to one real broker; a round ends when every result of it is acknowledged.
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from deploy.demo.broker import Broker, open_broker
from edge_node import assembly, config
from edge_node.config import EdgeConfig, Gate, Metrics, Model, Mqtt, Node
from edge_node.metrics import Meter
from edge_node.node import EdgeNode
from edge_node.outbox import Depth, Held, Outbox, Row
from edge_node.outbox.confirmation import Confirmation
from edge_node.sample import Sample
from protos import result as contract
from protos.codec import Tensor
from protos.result import Result
from tests import services
from tests.benchmarks.table import Row as Figures
from tests.outboxes import box
from tests.results import result

ROUNDS = 7
BURST = 5.0
"""Seconds of samples in one round."""
RATE, SECONDS = 50, 30
"""Results a second, and for how long, while syncs are counted."""


class Queue:
    """What a publisher needs of an outbox, in memory alone: nothing outlives the process."""

    stream = session = 1
    next_seq = 0
    full = False

    def __init__(self, settings: config.Outbox, folder: Path, meter: Meter) -> None:
        self.confirmation = Confirmation(settings, folder)
        self._rows: dict[int, Row] = {}
        self._last = -1
        self._tell: Callable[[], None] = lambda: None
        meter.queued.set_function(lambda: len(self._rows))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Forget it all."""

    def append(
        self, result: Result, _place: Hashable = None, _hold: Held | None = None, _release: str | None = None
    ) -> None:
        self._rows[result.seq] = Row(result.seq, contract.encode(result))
        self._last = result.seq
        self._tell()

    def on_commit(self, callback: Callable[[], None]) -> None:
        self._tell = callback

    def committed(self) -> int:
        return self._last

    def floor(self) -> int:
        return next(iter(self._rows), self._last + 1)

    def rows(self, after: int, limit: int, before: int | None = None) -> list[Row]:
        numbers = range(after + 1, self._last + 1 if before is None else min(before, self._last + 1))
        return list(islice(filter(None, map(self._rows.get, numbers)), limit))

    def confirm_each(self, seqs: Iterable[int]) -> None:
        for seq in seqs:
            self._rows.pop(seq, None)

    def depth(self) -> Depth:
        return Depth(len(self._rows), 0, 0.0)

    def held(self, _limit: int) -> list[Held]:
        return []


def measure(artifact: Path, data: Tensor | bytes) -> dict[str, list[Figures]]:
    """All tables."""
    return {
        "throughput with and without durability": [throughput(artifact, data)],
        f"syncs, by strace, at {RATE} results a second": [syncs()],
    }


def throughput(artifact: Path, data: Tensor | bytes) -> Figures:
    """Results a second, published and acknowledged, of both nodes by turns."""
    with TemporaryDirectory() as folder, open_broker(Path(folder)) as broker, ExitStack() as stack:
        nodes = [
            stack.enter_context(_open_node(name, kind, artifact, Path(folder), broker))
            for name, kind in (("durable", Outbox), ("memory", Queue))
        ]
        for node in nodes:
            _rate(node, data, 1.0)  # warm
        rounds = [[_rate(node, data, BURST) for node in nodes] for _ in range(ROUNDS)]
    ratios = sorted(durable / memory for durable, memory in rounds)
    return {
        "in memory, /s": statistics.median(memory for _, memory in rounds),
        "outbox, /s": statistics.median(durable for durable, _ in rounds),
        "ratio": statistics.median(ratios),
        "ratios": f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
    }


@contextmanager
def _open_node(
    name: str, kind: type[Any], artifact: Path, folder: Path, broker: Broker
) -> Iterator[EdgeNode]:
    settings = EdgeConfig(
        node=Node(site="bench", name=name),
        model=Model(path=artifact, threads=1),
        gate=Gate(policy="always_edge"),
        mqtt=Mqtt(host=broker.host, port=broker.port),
        outbox=config.Outbox(path=folder / name, unheard="confirm"),
        metrics=Metrics(port=0),
    )
    names = vars(assembly)  # the one seam of this comparison
    usual, names["Outbox"] = names["Outbox"], kind
    try:
        opened = EdgeNode.open(settings)
        node = opened.__enter__()
    finally:
        names["Outbox"] = usual
    with ExitStack() as stack:
        stack.push(opened)
        yield node


def _rate(node: EdgeNode, data: Tensor | bytes, seconds: float) -> float:
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        node._pipeline.process(Sample("", data))
        calls += 1
    while node.meter.registry.get_sample_value("tidegate_queued_results"):
        time.sleep(0.001)
    return calls / (time.perf_counter() - start)


def syncs() -> Figures:
    """How often the kernel is asked to sync, for an outbox whose results are confirmed at once."""
    strace = services.find("strace")
    if strace is None:
        return {"": "needs strace: apt-get install strace"}
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "trace"
        watch = [str(strace), "-f", "-e", "trace=fsync,fdatasync", "-o", str(trace)]
        subprocess.run([*watch, sys.executable, "-m", __name__, folder], check=True)
        calls = sum("sync(" in line for line in trace.read_text().splitlines())
    return {"results": RATE * SECONDS, "syncs": calls, "syncs a result": calls / (RATE * SECONDS)}


def steady(folder: Path) -> None:
    """Results at a rate, each confirmed soon after it is committed."""
    with box(folder / "box", linger=config.Outbox().linger, ballast=config.Outbox().ballast) as outbox:
        outbox.on_commit(lambda: outbox.confirm_each(range(outbox.floor(), outbox.committed() + 1)))
        start = time.monotonic()
        for number in range(RATE * SECONDS):
            time.sleep(max(0.0, start + number / RATE - time.monotonic()))
            outbox.append(result(seq=number, stream=outbox.stream))


if __name__ == "__main__":
    steady(Path(sys.argv[1]))
