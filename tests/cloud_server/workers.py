"""A server of several processes as its tests see it: over many connections, and from the inside."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families as parse

from cloud_server.server import Running
from protos import codec
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub

CONNECTIONS = 40
"""Of which a worker out of two gets fewer than four once in fifty million times."""
RETRY = (
    '{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 5, "initialBackoff": "0.05s", '
    '"maxBackoff": "0.5s", "backoffMultiplier": 2, "retryableStatusCodes": ["UNAVAILABLE"]}}]}'
)


@contextmanager
def connections(address: str, count: int = CONNECTIONS, *, retry: bool = False) -> Iterator[list[Any]]:
    """Stubs with a connection each: the kernel gives each to some worker."""
    options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
    options += [("grpc.service_config", RETRY)] if retry else [("grpc.enable_retries", 0)]
    with ExitStack() as channels:
        yield [
            GRPCInferenceServiceStub(channels.enter_context(grpc.insecure_channel(address, options)))
            for _ in range(count)
        ]


def counting(until: int = 1000) -> pb.ModelInferRequest:
    """A request that takes a while: for a thousand, about a millisecond."""
    return codec.request("counting", {"n": np.array([until])})


def pids(running: Running) -> list[int]:
    """Of its workers."""
    return running.meter.shown._workers()  # type: ignore[attr-defined,no-any-return]


def total(text: str, metric: str) -> float:
    """The sum of a metric's samples in an exposition."""
    return sum(it.value for family in parse(text) for it in family.samples if it.name == metric)


def answered(running: Running) -> list[float]:
    """Calls that each worker has answered, by slot."""
    folder = Path(running.meter.shown._files._path)  # type: ignore[attr-defined]
    counts = []
    for file in sorted(folder.glob("counter_*.db")):
        merged = MultiProcessCollector.merge([str(file)])
        requests = next(family for family in merged if family.name == "tidegate_requests")
        counts.append(sum(sample.value for sample in requests.samples))
    return counts


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
