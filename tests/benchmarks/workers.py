"""What more processes than one bring and cost: ``python -m tests.benchmarks.workers``."""

import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.benchmarks.cloud import nets
from tests.benchmarks.cloud.client import Client, Task
from tests.benchmarks.cloud.contenders import tidegate
from tests.benchmarks.cloud.process import count, cpu_seconds, megabytes
from tests.benchmarks.table import Row, machine, show

SERVERS = {f"{number} worker{'s' * (number > 1)}": partial(tidegate, workers=number) for number in (1, 2)}
STARTS, ROUNDS, SECONDS = 5, 5, 2.0
_UPDATES = """
import sys, timeit
from pathlib import Path
from cloud_server.metrics import Meter
from cloud_server.workers.worker import Task, WorkerMeter
meter = WorkerMeter(Task(None, 0, Path(sys.argv[1]), frozenset())) if sys.argv[1:] else Meter()
count, time = meter.received, meter.inference.labels("x")
for update in (lambda: count.inc(5), lambda: time.observe(0.001)):
    print(1e9 * min(timeit.repeat(update, number=20000, repeat=9)) / 20000)
"""


def main() -> None:
    """Print three tables."""
    with TemporaryDirectory() as folder:
        model = nets.small(Path(folder) / "small.onnx")
        show("idle, and ready: the small network", [_idle(Path(folder), model, name) for name in SERVERS])
        show("16 callers, a connection each, by turns", _rates(Path(folder), model))
    show("one update of a metric, ns", [_updates("one process"), _updates("worker", shared=True)])
    print(machine())


def _idle(folder: Path, model: Path, name: str) -> Row:
    took = []
    for start in range(STARTS):
        place = folder / f"idle-{name}-{start}"
        place.mkdir()
        with SERVERS[name](place, model) as peer:
            took.append(peer.took)
            time.sleep(1)
            memory, processes = megabytes(peer.pid), count(peer.pid)
    return {"": name, "ready after, s": statistics.median(took), "PSS, MB": memory, "processes": processes}


def _rates(folder: Path, model: Path) -> list[Row]:
    """Medians of rounds in which each has its turn; what two have of one, round by round."""
    rates: dict[str, list[float]] = {name: [] for name in SERVERS}
    costs: dict[str, list[float]] = {name: [] for name in SERVERS}
    with ExitStack() as running:
        client = running.enter_context(Client())
        peers = {}
        for name, server in SERVERS.items():
            (folder / name).mkdir()
            peers[name] = running.enter_context(server(folder / name, model))
        for turn in range(ROUNDS + 1):
            for name, peer in peers.items():
                task = Task(model=str(model), pixels=96, target=peer.target, callers=16, seconds=SECONDS)
                before = cpu_seconds(peer.pid)
                done = client.do(task)
                if turn:  # the first warms up
                    rates[name].append(done.rate)
                    costs[name].append(1e3 * (cpu_seconds(peer.pid) - before) / (done.rate * SECONDS))
    one = rates["1 worker"]
    return [
        {
            "": name,
            "answers/s": statistics.median(found),
            "of one": statistics.median(it / base for it, base in zip(found, one, strict=True)),
            "server CPU, ms": statistics.median(costs[name]),
        }
        for name, found in rates.items()
    ]


def _updates(name: str, *, shared: bool = False) -> Row:
    with TemporaryDirectory() as folder:
        command = [sys.executable, "-c", _UPDATES, *([folder] if shared else [])]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return {"": name, "Counter.inc": float(told[0]), "Histogram.observe": float(told[1])}


if __name__ == "__main__":
    main()
