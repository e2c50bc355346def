"""What one core of the cloud server does, and what a model takes: ``python -m tests.benchmarks.sizing``.

The server is held to one core and one run at a time, its callers to another core.
"""

import asyncio
import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import numpy as np

from protos import artifact, codec
from protos import inference_pb2 as pb
from protos.codec import Tensor
from protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.benchmarks import table
from tests.benchmarks.cloud import nets
from tests.benchmarks.footprint import smaps
from tests.benchmarks.table import Row
from tests.cloud_server.process import started

WRIST = Path(__file__).parents[2] / "deploy/demo/wrist/cloud"
CALLERS = (1, 4, 16)
WARM, SECONDS, ROUNDS = 0.5, 2.0, 3
TICKS = os.sysconf("SC_CLK_TCK")


def measure() -> dict[str, list[Row]]:
    """A row for each model and number of callers; the median round of each."""
    with TemporaryDirectory() as folder:
        mid = nets.mid(Path(folder) / "mid.onnx")
        models: list[tuple[Path, str, Tensor]] = [
            (WRIST, artifact.load(WRIST).manifest.name, np.zeros((1, 128, 6), np.float16)),
            (mid, "mid", np.zeros((1, 3, 224, 224), np.float32)),
        ]
        return {"one core": [row for model in models for row in _rows(Path(folder), *model)]}


def _rows(folder: Path, path: Path, name: str, sample: Tensor) -> list[Row]:
    with started(folder, path, TIDEGATE_SERVER__THREADS="1") as server:
        pid = server.popen.pid
        os.sched_setaffinity(0, {0})
        _everywhere(pid, {1})
        idle = smaps(pid)["Pss"]
        found = {
            callers: [asyncio.run(_load(server.address, pid, name, sample, callers)) for _ in range(ROUNDS)]
            for callers in CALLERS
        }
        os.sched_setaffinity(0, set(range(os.cpu_count() or 1)))
        memory = {"MB idle": idle, "MB after": smaps(pid)["Pss"]}
    return [
        {
            "model": name,
            "callers": callers,
            **sorted(rounds, key=lambda it: it["calls/s"])[ROUNDS // 2],
            **memory,
        }
        for callers, rounds in found.items()
    ]


def _everywhere(pid: int, cores: set[int]) -> None:
    """Every thread there is; those to come inherit it."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)


async def _load(address: str, pid: int, name: str, sample: Tensor, callers: int) -> dict[str, float]:
    """So many callers, each with its next call as soon as the last is answered."""
    request = codec.request(name, {await _input(address, name): sample})
    async with grpc.aio.insecure_channel(address) as channel:
        infer = GRPCInferenceServiceStub(channel).ModelInfer
        await _call(infer, request, callers, WARM)
        before = _cpu(pid)
        laps = await _call(infer, request, callers, SECONDS)
        used = _cpu(pid) - before
    return {
        "calls/s": len(laps) / SECONDS,
        "ms p50": 1e3 * statistics.median(laps),
        "ms p99": 1e3 * sorted(laps)[int(0.99 * len(laps))],
        "ms of core a call": 1e3 * used / len(laps),
    }


async def _input(address: str, name: str) -> str:
    async with grpc.aio.insecure_channel(address) as channel:
        described = await GRPCInferenceServiceStub(channel).ModelMetadata(pb.ModelMetadataRequest(name=name))
        return str(described.inputs[0].name)


async def _call(infer: Any, request: Any, callers: int, seconds: float) -> list[float]:
    laps: list[float] = []
    end = time.perf_counter() + seconds

    async def caller() -> None:
        while (began := time.perf_counter()) < end:
            await infer(request)
            laps.append(time.perf_counter() - began)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return laps


def _cpu(pid: int) -> float:
    """Seconds of processor that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    for title, rows in measure().items():
        table.show(title, rows)
    print(table.machine())
