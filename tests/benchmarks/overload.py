"""More than can be answered, from callers who do not wait: ``python -m tests.benchmarks.overload`` reports.

The client is a process of its own: requests leave when they are due, whatever has become of the others.
"""

import asyncio
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import msgspec
import numpy as np
import onnxruntime

from protos import codec
from protos import inference_pb2 as pb
from tests.benchmarks.cloud import nets
from tests.benchmarks.cloud.client import OPTIONS, SERVICE
from tests.benchmarks.cloud.process import megabytes
from tests.benchmarks.table import machine
from tests.cloud_server import graphs
from tests.peers import servers
from tests.ports import free_port

REPORT = Path(__file__).parents[2] / "docs/reports/cloud-overload.md"
LOADS = 0.5, 1.0, 2.0, 5.0
SECONDS, CONNECTIONS = 8.0, 8
RUN = 0.02
"""Seconds that the slow model takes."""
WORDS = f"""# More than can be answered, as measured

`python -m tests.benchmarks.overload` wrote this. Callers do not wait for each other: requests leave at
random times (Poisson), {SECONDS:.0f} s at each load, with a deadline each. A load of 1 is what the server
answered to four callers who do wait, measured just before. The server runs one inference at a time, so that
client and refusals have the machine's other core.

- **in time**: answers within the deadline, a second; **of peak**: as a share of the most at any load.
- **refused**: RESOURCE_EXHAUSTED; **within**: 99 % of refusals were there by then. **late**: no answer by
  the deadline.
- **p50, p99**: of the answers, from when the request was due, and **p99 / deadline**.
- **memory**: of the server (PSS), after that load.
- **plain** is the control: a server of twenty lines, the same gRPC library with one thread and no more.

"""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What the client is to send."""

    target: str
    model: str
    request: str
    """File of a serialised request."""
    rate: float
    """A second; 0: four callers who wait for their answers."""
    deadline: float
    seconds: float


class Found(msgspec.Struct):
    """What came of it; seconds."""

    codes: dict[str, int] = {}
    answered: list[float] = []
    refused: list[float] = []
    took: float = 0.0


def main() -> None:
    """Measure, and write the report."""
    with TemporaryDirectory() as folder:
        parts = [_part(Path(folder), *it) for it in _models(Path(folder))]
    about = ", ".join(f"{name} {said}" for name, said in machine().items() if name != "paho-mqtt")
    load = " ".join(f"{it:.1f}" for it in os.getloadavg())
    REPORT.write_text(f"{WORDS}{chr(10).join(parts)}\n{about}; load average {load}\n")
    print(REPORT.read_text())


def _models(folder: Path) -> Iterator[tuple[str, Path, dict[str, Any], float]]:
    """Words, model, input, deadline."""
    slow = graphs.counting(folder / "slow.onnx")
    yield (
        f"a model of about {1e3 * RUN:.0f} ms, 8 bytes a request, deadline 500 ms",
        slow,
        {"n": np.array([_trips(slow)])},
        0.5,
    )
    image = np.random.default_rng(0).random((1, 3, 224, 224), np.float32)
    yield (
        "MobileNetV2, 602,112 bytes a request, deadline 250 ms",
        nets.mid(folder / "mid.onnx"),
        {"x": image},
        0.25,
    )


def _trips(model: Path) -> int:
    """So many take the time of a run."""
    session = _session(model)
    start = time.perf_counter()
    session.run(None, {"n": np.array([50_000])})
    return int(50_000 * RUN / (time.perf_counter() - start))


def _session(model: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options)


def _part(folder: Path, words: str, model: Path, inputs: dict[str, Any], deadline: float) -> str:
    request = folder / f"{model.stem}.request"
    request.write_bytes(codec.request(model.stem, inputs).SerializeToString())
    rows = []
    for name, command in (
        ("Tidegate", ["-m", "cloud_server", "run", model, "--port"]),
        ("plain", ["-m", __spec__.name, "plain", model]),
    ):
        with _server(folder, command, model) as peer:
            task = Task(
                target=peer.target,
                model=model.stem,
                request=str(request),
                rate=0.0,
                deadline=10.0,
                seconds=4.0,
            )
            _do(msgspec.structs.replace(task, seconds=1.0))
            capacity = len((found := _do(task)).answered) / found.took
            measured = []
            for load in LOADS:
                asked = msgspec.structs.replace(
                    task, rate=load * capacity, deadline=deadline, seconds=SECONDS
                )
                measured.append((load, _do(asked), megabytes(peer.pid)))
            rows += _rows(name, measured, deadline)
    lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## {words}\n\n{table}\n"


def _rows(name: str, measured: Sequence[tuple[float, Found, float]], deadline: float) -> list[dict[str, str]]:
    def in_time(found: Found) -> float:
        return sum(it <= deadline for it in found.answered) / found.took

    peak = max(in_time(found) for _, found, _ in measured)
    return [
        {
            "server": name,
            "load": f"{load:g}",
            "sent/s": f"{sum(found.codes.values()) / found.took:.0f}",
            "in time/s": f"{in_time(found):.0f}",
            "of peak": f"{in_time(found) / peak:.2f}",
            "refused/s": f"{found.codes.get('RESOURCE_EXHAUSTED', 0) / found.took:.0f}",
            "within, ms": _quantile(found.refused, 0.99),
            "late/s": f"{found.codes.get('DEADLINE_EXCEEDED', 0) / found.took:.0f}",
            "p50, ms": _quantile(found.answered, 0.5),
            "p99, ms": _quantile(found.answered, 0.99),
            "p99 / deadline": f"{np.quantile(found.answered or [np.nan], 0.99) / deadline:.2f}",
            "memory, MB": f"{memory:.0f}",
        }
        for load, found, memory in measured
    ]


def _quantile(seconds: Sequence[float], share: float) -> str:
    return f"{1e3 * float(np.quantile(seconds, share)):.0f}" if seconds else "-"


@contextmanager
def _server(folder: Path, command: Sequence[object], model: Path) -> Iterator[servers.Peer]:
    port = free_port()
    environ = {"TIDEGATE_METRICS__PORT": "0", "TIDEGATE_SERVER__THREADS": "1"}
    with servers.started([sys.executable, *command, port], folder, (port, port), model.stem, environ) as peer:
        yield peer


def _do(task: Task) -> Found:
    """In a process of its own."""
    command = [sys.executable, "-m", __spec__.name, "client", msgspec.json.encode(task).decode()]
    ended = run(command, capture_output=True, text=True, check=True)
    return msgspec.json.decode(ended.stdout, type=Found)


async def client(task: Task, request: bytes) -> Found:
    """Send what is due."""
    channels = [grpc.aio.insecure_channel(task.target, OPTIONS) for _ in range(CONNECTIONS)]
    calls: list[Any] = [channel.unary_unary(SERVICE + "ModelInfer") for channel in channels]
    found, start = Found(), time.perf_counter()

    async def one(call: Any, due: float) -> None:
        try:
            await call(request, timeout=task.deadline)
            code = "OK"
            found.answered.append(time.perf_counter() - due)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
            if code == "RESOURCE_EXHAUSTED":
                found.refused.append(time.perf_counter() - due)
        found.codes[code] = found.codes.get(code, 0) + 1

    async def patient(call: Any) -> None:
        while time.perf_counter() < start + task.seconds:
            await one(call, time.perf_counter())

    async def impatient() -> None:
        pending, due = set[asyncio.Task[None]](), start
        while due < start + task.seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            pending.add(sent := asyncio.create_task(one(random.choice(calls), due)))
            sent.add_done_callback(pending.discard)
            due += random.expovariate(task.rate)
        await asyncio.gather(*pending)

    await (impatient() if task.rate else asyncio.gather(*map(patient, calls[:4])))
    found.took = task.seconds if task.rate else time.perf_counter() - start
    return found


def plain(model: Path, port: str) -> None:
    """The control: a server that takes whatever comes."""
    session = _session(model)

    def infer(request: bytes, _context: object) -> bytes:
        tensors = codec.request_tensors(pb.ModelInferRequest.FromString(request))
        outputs = dict(
            zip([it.name for it in session.get_outputs()], session.run(None, tensors), strict=True)
        )
        return codec.response(model.stem, "1", "", outputs).SerializeToString()

    def ready(_request: bytes, _context: object) -> bytes:
        return pb.ModelReadyResponse(ready=True).SerializeToString()

    server = grpc.server(ThreadPoolExecutor(1))
    handlers: Any = {
        name: grpc.unary_unary_rpc_method_handler(it)
        for name, it in {"ModelInfer": infer, "ModelReady": ready}.items()
    }
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("inference.GRPCInferenceService", handlers),)
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["client", task]:
            given = msgspec.json.decode(task, type=Task)
            found = asyncio.run(client(given, Path(given.request).read_bytes()))
            print(msgspec.json.encode(found).decode())
        case ["plain", path, port]:
            plain(Path(path), port)
        case _:
            main()
