"""All cases that have been measured, as one page."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from tests.benchmarks import table
from tests.benchmarks.cloud import promises
from tests.benchmarks.cloud.contenders import BARE, CASES, ECHO, OURS
from tests.benchmarks.cloud.promises import Kept
from tests.benchmarks.table import Row

REPORT = Path(__file__).parents[3] / "docs/reports/bench-cloud.md"
WORDS = f"""# The cloud server beside others, as measured

`make bench-cloud` wrote this. MLServer 1.7.1, KServe 0.21.0 and Triton 2.51 (the one that nvidia-pytriton
0.7.0 brings, with its Python backend) serve the same ONNX files through the same onnxruntime, as do ours and
the bare `{BARE}`, with one thread a run unless said otherwise. All are up at once on the same cores; each has
a turn of one second in each of nine rounds, the order turned round each time. All give the same answers,
which is checked.

- The client is a process of its own on the same cores, and has a connection for each caller. Requests are raw
  tensors; the next one leaves when the answer is there. One caller is gRPC's Python client. 16 are h2load,
  which takes a third of the processor that grpc.aio did: what a client takes, no server can show.
- Servers that use grpcio have its event engine off, as below: all are faster for it.
- **its CPU**: of all processes of the server, an answer. **client's CPU**: likewise.
- **{OURS} / it**: answers a second of ours over those of this one: the median of the rounds' ratios, and in
  brackets the lowest and highest of the rounds.
- **{BARE}** runs in the client's process, without any server; **{ECHO}** (`grpc.aio`) answers without
  reading the request.
- Ours is configured by nothing but its port, and where it says so by `server.workers`. Of a server that is
  here in several settings a promise is about the best.

"""
BY_HAND = "\n## Where the time goes\n"
"""From here on the page is written by people, and stays."""


def machine() -> str:
    """What it was measured on, and how busy that was."""
    about = ", ".join(f"{name} {said}" for name, said in table.machine().items() if name != "paho-mqtt")
    return f"{about}; load average {' '.join(f'{it:.1f}' for it in os.getloadavg())}"


def write(folder: Path) -> None:
    """From the figures in a folder."""
    paths = {case: folder / f"{case}.json" for case in (*CASES, "idle")}
    kept = {
        case: msgspec.json.decode(path.read_bytes(), type=Kept)
        for case, path in paths.items()
        if path.exists()
    }
    summary = f"## What was promised\n\n{_table(promises.rows(kept))}\n"
    _, hand, words = (REPORT.read_text() if REPORT.exists() else "").partition(BY_HAND)
    REPORT.write_text(WORDS + "\n".join([summary, *map(_part, kept.values())]) + hand + words)
    print(f"\nwritten to {REPORT}")


def _part(kept: Kept) -> str:
    return f"## {kept.title}\n\n{_table(kept.rows)}\n\n{kept.machine}\n"


def _table(rows: Sequence[Row]) -> str:
    head = list(rows[0])
    lines = [head, ["---"] * len(head), *([table.text(it) for it in row.values()] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
