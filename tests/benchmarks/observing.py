"""What it costs to be observed: samples counted and not, by turns in one node; memory of two nodes.

The node is scraped every second and publishes its snapshots. What has no metrics counts nothing, looks
at no socket and is not scraped.
"""

import copy
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import numpy as np
from prometheus_client.metrics import MetricWrapperBase

from deploy.demo.broker import open_broker
from edge_node import assembly
from edge_node.config import EdgeConfig, Gate, Metrics, Model, Mqtt, Node, Outbox
from edge_node.metrics import Meter
from edge_node.node import EdgeNode
from edge_node.pipeline import Pipeline
from edge_node.sample import Sample
from protos.codec import Tensor
from tests.benchmarks.footprint import smaps
from tests.benchmarks.table import Row
from tests.ports import free_port

SAMPLES = 3000
"""Of each kind."""
PACE = 0.002
"""Seconds of rest before a sample."""
SCRAPE = 1.0
"""Seconds between scrapes: fifteen times as often as usual."""
_LIBRARY = """
import sys, grpc, msgspec, numpy, onnxruntime, paho.mqtt.client
for load in ("", "import prometheus_client"):
    exec(load)
    print(flush=True)
    sys.stdin.readline()
"""


class Nothing:
    """A metric that counts nothing."""

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: self

    def __getitem__(self, _: object) -> "Nothing":
        return self


class Silent(Meter):
    """A meter without metrics."""

    def __init__(self) -> None:
        super().__init__()
        for name, value in list(vars(self).items()):
            if isinstance(value, MetricWrapperBase | dict):
                setattr(self, name, Nothing())

    def sample(self) -> None:
        """Count nothing."""

    def edge(self, *_: object) -> None:
        """Count nothing."""

    def result(self, *_: object) -> None:
        """Count nothing."""


def measure(artifact: Path) -> dict[str, list[Row]]:
    """Microseconds of a sample at the edge, and megabytes, with metrics and without."""
    off, more = _run("off", artifact), _run("on", artifact)
    times = {way: statistics.median(more[way]) for way in ("counted", "not")}
    pairs = sorted(with_ - without for with_, without in zip(more["counted"], more["not"], strict=True))
    row: Row = {
        "counted, µs": times["counted"],
        "not, µs": times["not"],
        "more, µs": statistics.median(pairs),
        "middle half": f"{pairs[len(pairs) // 4]:.0f} to {pairs[3 * len(pairs) // 4]:.0f}",
        "more, %": 100 * statistics.median(pairs) / times["not"],
        "more, MB": more["Rss"][0] - off["Rss"][0],
        "library, MB": _library(),
    }
    return {"cost of being observed": [row]}


def _run(way: str, artifact: Path) -> dict[str, list[float]]:
    """What a node in a process of its own measured."""
    with TemporaryDirectory() as folder, open_broker(Path(folder)) as broker:
        port = free_port()
        command = [sys.executable, "-m", "tests.benchmarks.observing", way, artifact, broker.port, port]
        with subprocess.Popen(
            [*map(str, command)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout
            child.stdout.readline()
            with _scraped(port) if way == "on" else nullcontext():
                found = {name: [*map(float, child.stdout.readline().split())] for name in ("counted", "not")}
            found["Rss"] = [smaps(child.pid)["Rss"]]
            child.communicate()
    return found


@contextmanager
def _scraped(port: int) -> Iterator[None]:
    stop = Event()

    def scrape() -> None:
        while not stop.wait(SCRAPE):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                answer.read()

    thread = Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _library() -> float:
    """Megabytes that prometheus_client adds to what a node has loaded anyway: either of the two has it."""
    with subprocess.Popen(
        [sys.executable, "-c", _LIBRARY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin
        assert child.stdout
        found = []
        for _ in range(2):
            child.stdout.readline()
            found.append(smaps(child.pid)["Rss"])
            print(file=child.stdin, flush=True)
    return found[1] - found[0]


def _serve(way: str, artifact: Path, broker: int, port: int) -> None:
    """Print what samples took, counted and not; wait to be measured."""
    names = vars(assembly)
    if way == "off":
        names["Meter"], names["running"] = Silent, lambda *_: nullcontext()
    with TemporaryDirectory() as folder:
        settings = EdgeConfig(
            node=Node(site="bench", name=way),
            model=Model(path=artifact, threads=1),
            gate=Gate(policy="always_edge"),
            mqtt=Mqtt(host="127.0.0.1", port=broker),
            outbox=Outbox(path=Path(folder) / "outbox", unheard="confirm"),
            metrics=Metrics(port=port, snapshot=15.0 if way == "on" else 0.0),
        )
        with EdgeNode.open(settings) as node:
            shape = node._pipeline.model.artifact.manifest.signature.input.shape[1:]
            print(flush=True)
            _time(node, np.zeros(shape, np.float16))
            sys.stdin.readline()


def _time(node: EdgeNode, data: Tensor) -> None:
    node.infer(data)  # from here on the two share one count
    counted, silent = node._pipeline, copy.copy(node._pipeline)
    object.__setattr__(silent, "meter", Silent())
    rounds = []
    for number in range(SAMPLES):
        order = (counted, silent) if number % 2 else (silent, counted)
        times = [_microseconds(pipeline, data) for pipeline in order]
        rounds.append(times if number % 2 else times[::-1])
    for found in zip(*rounds, strict=True):
        print(*found, flush=True)


def _microseconds(pipeline: Pipeline, data: Tensor) -> float:
    time.sleep(PACE)
    start = time.perf_counter()
    pipeline.process(Sample("", data))
    return (time.perf_counter() - start) * 1e6


if __name__ == "__main__":
    _serve(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
