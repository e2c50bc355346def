"""Requests that mean harm, a hundred thousand of them; ``python -m tests.benchmarks.hostile_input`` reports.

A caller in a process of its own calls fifty times a second meanwhile, to tell what it feels of them.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import numpy as np
from onnx import TensorProto

from protos import codec
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.benchmarks.table import machine
from tests.cloud_server import graphs
from tests.cloud_server.hostile import peaceful, volleys
from tests.cloud_server.striking import Striker, campaign, target
from tests.models import cloud_artifact, linear

REPORT = Path(__file__).parents[2] / "docs/reports/hostile-input.md"
COUNT, VOLLEYS, MUTANTS = 100_000, 500, 8
EVERY = 0.02
"""Seconds between two calls of the other caller."""
ROUNDS, BLOCK, PAUSE = 7, 250, 5.0
"""Of the comparison, volleys in each part of one, and seconds without any."""
PACKED = 256 << 20
"""Bytes of zeros that are sent as a quarter of a megabyte, four times at once."""

WORDS = """# Hostile input, as measured

`python -m tests.benchmarks.hostile_input` wrote this. Requests made by hypothesis, from seeds 0, 1, ...:
tensors of every datatype with shapes, sizes and contents that fit nearly or not at all, 2**63, NaN, damaged
and empty messages, images cut short, changed, or small and huge once unfolded, gzip, JSON of all kinds,
false lengths, other methods, bytes to the bare ports. One message goes as a call, in a stream and over REST
(`tests/cloud_server/hostile.py`), and each eight times more with bytes changed at random. The server is a
process with eight models and its defaults.

"""


def main() -> None:
    """Attack, compare, and write the report."""
    if sys.argv[1:]:
        _call(sys.argv[1])
        return
    with TemporaryDirectory() as folder, target(Path(folder), _models(Path(folder))) as striker:
        idle, seeds = striker.peak(), 0
        began = time.monotonic()
        while striker.tally.total() < COUNT:
            campaign(striker, VOLLEYS, seeds, mutants=MUTANTS)
            seeds += 1
        took, tally, peak = time.monotonic() - began, Counter(striker.tally), striker.peak()
        compared = _compare(striker, Path(folder))
        packed = _pack(striker)
        problems = len(striker.log())
    outcomes = "\n".join(f"| {name} | {count:,} |" for name, count in tally.most_common())
    about = ", ".join(f"{name} {said}" for name, said in machine().items())
    load = " ".join(f"{it:.1f}" for it in os.getloadavg())
    REPORT.write_text(
        f"""{WORDS}{tally.total():,} requests, seeds 0 to {seeds - 1}, in {took:.0f} s: **0** crashes, **0**
INTERNAL, UNKNOWN or 500 (one ends the run), **{problems}** lines of the log with a traceback or an
internal error. Memory of the server: {idle} MiB before, at most **{peak} MiB**. 4 x 256 MiB of zeros,
gzipped, at once: + {packed} MiB.

{compared}

| way and outcome | requests |
| --- | ---: |
{outcomes}

{about}; load average {load}
"""
    )
    print(REPORT.read_text())


def _models(folder: Path) -> list[Path]:
    return [
        cloud_artifact(folder / "cloud").directory,
        graphs.colour(folder / "colour").directory,
        linear(folder / "plain.onnx"),
        graphs.echo(folder / "bytes.onnx", TensorProto.UINT8),
        graphs.echo(folder / "text.onnx", TensorProto.STRING),
        graphs.echo(folder / "half.onnx", TensorProto.FLOAT16),
        graphs.arithmetic(folder / "arithmetic.onnx"),
        graphs.counting(folder / "counting.onnx"),
    ]


def _call(address: str) -> None:
    """The other caller: when each call began, and how long it took, until nobody listens."""
    request = codec.request("cloud", {"x": np.ones((1, 3), np.float32)})
    with grpc.insecure_channel(address) as channel:
        ask = GRPCInferenceServiceStub(channel).ModelInfer
        due = time.monotonic()
        while True:
            began = time.monotonic()
            ask(request)
            print(due, time.monotonic() - min(due, began), flush=True)
            due += EVERY
            time.sleep(max(0.0, due - time.monotonic()))


def _compare(striker: Striker, folder: Path) -> str:
    """What the other caller feels beside nobody, beside good requests, and beside attacks."""
    beside = {"alone": None, "beside good requests": peaceful(), "beside attacks": volleys()}
    spans: dict[str, list[tuple[float, float]]] = {name: [] for name in beside}
    with _calling(striker.process.address, folder / "calls") as told:
        for turn in range(ROUNDS):
            for name, chosen in beside.items():
                began = time.monotonic()
                if chosen is None:
                    time.sleep(PAUSE)
                else:
                    campaign(striker, BLOCK, 10_000 + turn, chosen)
                spans[name].append((began, time.monotonic()))
    calls = [tuple(map(float, line.split())) for line in told.read_text().splitlines()[:-1]]
    rows = [(name, *_felt(calls, times)) for name, times in spans.items()]
    good = rows[1][3]
    lines = [f"| {name} | {n:,} | {p50:.2f} | {p99:.2f} | {p99 / good:.2f} |" for name, n, p50, p99 in rows]
    return f"""Another caller, every {EVERY * 1e3:.0f} ms: medians of {ROUNDS} interleaved rounds. The good \
requests come from the
same process by the same ways, as fast as one sender can.

| the other caller | calls | p50, ms | p99, ms | p99 : beside good |
| --- | ---: | ---: | ---: | ---: |
""" + "\n".join(lines)


@contextmanager
def _calling(address: str, told: Path) -> Iterator[Path]:
    """The other caller, who writes down what it feels."""
    command = [sys.executable, "-m", "tests.benchmarks.hostile_input", address]
    with told.open("w") as file, subprocess.Popen(command, stdout=file) as caller:
        try:
            while not told.stat().st_size:
                time.sleep(0.1)
            yield told
        finally:
            caller.terminate()


def _felt(calls: list[tuple[float, ...]], times: list[tuple[float, float]]) -> tuple[int, float, float]:
    """Calls in these spans, and the medians of their p50 and p99, in ms."""
    felt = [[took * 1e3 for at, took in calls if start <= at < end] for start, end in times]
    p50, p99 = (float(np.median([np.quantile(it, q) for it in felt])) for q in (0.5, 0.99))
    return sum(map(len, felt)), p50, p99


def _pack(striker: Striker) -> int:
    """MiB that the server's memory grows by."""
    before = striker.peak()

    def send(_: int) -> str:
        with grpc.insecure_channel(striker.process.address) as channel:
            call: Any = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            try:
                call(bytes(PACKED), compression=grpc.Compression.Gzip)
            except grpc.RpcError as error:
                refused: Any = error
                return str(refused.code().name)
            return "OK"

    with ThreadPoolExecutor(4) as pool:
        outcomes = set(pool.map(send, range(4)))
    if outcomes != {"RESOURCE_EXHAUSTED"}:
        raise AssertionError(outcomes)
    return striker.peak() - before


if __name__ == "__main__":
    main()
