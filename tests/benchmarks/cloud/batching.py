"""Does sharing runs ever lose? ``python -m tests.benchmarks.cloud.batching`` reports.

Our server with and without it, by turns, at every number of callers.
"""

import statistics
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from tests.benchmarks.cloud import nets, report
from tests.benchmarks.cloud.client import Client, Task
from tests.benchmarks.cloud.process import cpu_seconds
from tests.peers import servers
from tests.peers.servers import Peer
from tests.ports import free_port

REPORT = Path(__file__).parents[3] / "docs/reports/cloud-batching.md"
CALLERS = 1, 2, 4, 8, 16, 32
ROUNDS, SECONDS = 8, 1.0
NETS = {
    "small, 0.2 ms": (nets.small, 96),
    "mid, 5 ms": (nets.mid, 224),
    "wide, which waits for its weights": (nets.wide, 96),
}
WORDS = f"""# Sharing runs, as measured

`python -m tests.benchmarks.cloud.batching` wrote this: our server as it comes, and with
`batching.max_batch_size = 1`, by turns, {ROUNDS} rounds of {SECONDS:.0f} s each after one in which it
learns. **shared / alone**: answers a second, the median of the rounds' ratios and in brackets their
lowest and highest. **CPU**: milliseconds of the server's an answer, with and without. **limit**: samples that
share a run at most, as learnt.

"""


def main() -> None:
    """Measure, and write the report."""
    wanted = sys.argv[1:] or [str(it) for it in CALLERS]
    with TemporaryDirectory() as folder, Client() as client:
        rows = [row for name in NETS for row in _rows(Path(folder), client, name, list(map(int, wanted)))]
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    REPORT.write_text(f"{WORDS}{table}\n\n{report.machine()}\n")
    print(REPORT.read_text())


def _rows(folder: Path, client: Client, name: str, wanted: list[int]) -> Iterator[dict[str, str]]:
    net, pixels = NETS[name]
    model = net(folder / f"{net.__name__}.onnx")
    with _server(folder / "shared", model) as shared, _server(folder / "alone", model, 1) as alone:
        task = Task(model=str(model), pixels=pixels, seconds=SECONDS)
        for callers in wanted:
            asked = msgspec.structs.replace(task, callers=callers)
            turns = [
                _turns(client, asked, (shared, alone)[:: 1 - number % 2 * 2]) for number in range(ROUNDS + 1)
            ]
            pairs = [(it[shared.pid], it[alone.pid]) for it in turns[1:]]
            ratios = sorted(one[0] / other[0] for one, other in pairs)
            yield {
                "model": name,
                "callers": f"{callers}",
                "alone, answers/s": f"{statistics.median(other[0] for _, other in pairs):.0f}",
                "shared / alone": f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})",
                "CPU, ms": " / ".join(f"{statistics.median(it[at][1] for it in pairs):.2f}" for at in (0, 1)),
                "limit": f"{_limit(shared):.0f}",
            }


def _turns(client: Client, task: Task, peers: tuple[Peer, ...]) -> dict[int, tuple[float, float]]:
    """Answers a second, and milliseconds of CPU each, of one after the other."""
    found = {}
    for peer in peers:
        before = cpu_seconds(peer.pid)
        rate = client.do(msgspec.structs.replace(task, target=peer.target)).rate
        found[peer.pid] = rate, 1e3 * (cpu_seconds(peer.pid) - before) / (rate * task.seconds)
    return found


@contextmanager
def _server(folder: Path, model: Path, most: int | None = None) -> Iterator[Peer]:
    folder.mkdir(exist_ok=True)
    port, metrics = free_port(), free_port()
    environ = {"TIDEGATE_METRICS__PORT": str(metrics)}
    if most:
        environ["TIDEGATE_BATCHING__MAX_BATCH_SIZE"] = str(most)
    command = [sys.executable, "-m", "cloud_server", "run", model, "--port", port]
    with servers.started(command, folder, (port, metrics), model.stem, environ) as peer:
        yield peer


def _limit(peer: Peer) -> float:
    with urllib.request.urlopen(f"{peer.rest}/metrics", timeout=20) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith("tidegate_batch_limit{"))


if __name__ == "__main__":
    main()
