"""The pipeline's own cost over a bare ``session.run``: both by turns in one process, a real broker beside."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.demo.broker import open_broker
from edge_node.config import EdgeConfig, Gate, Metrics, Model, Mqtt, Node
from edge_node.node import EdgeNode
from edge_node.sample import Sample
from protos.codec import Tensor
from tests.benchmarks.table import Row

ROUNDS = 7
PACE = 0.005
"""Seconds between two samples when the cost of one is measured: the pace of a sensor."""
SINGLE = 200
"""Samples a round of the cost."""
BURST = 1.0
"""Seconds a round of the throughput."""


def measure(artifacts: Mapping[str, tuple[Path, Tensor | bytes]]) -> dict[str, list[Row]]:
    """Both tables, for each model the artifact and a sample of which are given."""
    return {
        "cost of one sample, at a sensor's pace": [cost(name, *it) for name, it in artifacts.items()],
        "throughput, flat out": [throughput(name, *it) for name, it in artifacts.items()],
    }


def cost(name: str, artifact: Path, data: Tensor | bytes) -> Row:
    """Microseconds of one sample, medians of rounds; ``own`` is what Tidegate adds to model and input."""
    with _open_node(artifact) as node:
        stages = _stages(node, data)
        rounds = [{stage: _median(run) for stage, run in stages.items()} for _ in range(ROUNDS)]
    own = [it["pipeline"] - it["session.run"] - it["preprocess"] for it in rounds]
    return {
        "model": name,
        **{f"{stage}, µs": statistics.median(it[stage] for it in rounds) for stage in stages},
        "own, µs": statistics.median(own),
        "own, best and worst round": f"{min(own):.0f} to {max(own):.0f}",
    }


def throughput(name: str, artifact: Path, data: Tensor | bytes) -> Row:
    """Results a second, published and acknowledged, beside inferences a second of the bare session."""
    with _open_node(artifact) as node:
        stages = _stages(node, data)
        rounds = [
            (_rate(stages["session.run"]), _rate(stages["pipeline"], lambda: _wait_acknowledged(node)))
            for _ in range(ROUNDS)
        ]
    return {
        "model": name,
        "session.run, /s": statistics.median(bare for bare, _ in rounds),
        "node, /s": statistics.median(whole for _, whole in rounds),
        "ratio": statistics.median(whole / bare for bare, whole in rounds),
    }


def _stages(node: EdgeNode, data: Tensor | bytes) -> dict[str, Callable[[], object]]:
    pipeline = node._pipeline
    tensor = pipeline.preprocess(Sample("", data))
    return {
        "session.run": lambda: pipeline.model.predict(tensor),
        "preprocess": lambda: pipeline.preprocess(Sample("", data)),
        "pipeline": lambda: pipeline.process(Sample("", data)),
    }


@contextmanager
def _open_node(artifact: Path) -> Iterator[EdgeNode]:
    """A node that answers everything itself and publishes over MQTT."""
    with TemporaryDirectory() as folder, open_broker(Path(folder)) as broker:
        settings = EdgeConfig(
            node=Node(site="bench", name="node"),
            model=Model(path=artifact, threads=1),
            gate=Gate(policy="always_edge"),
            mqtt=Mqtt(host=broker.host, port=broker.port, max_queued=1_000_000),
            metrics=Metrics(port=0),
        )
        with EdgeNode.open(settings) as node:
            yield node


def _median(run: Callable[[], object]) -> float:
    """Median microseconds of a call, one every ``PACE`` seconds."""
    times = []
    for _ in range(SINGLE):
        time.sleep(PACE)
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def _rate(run: Callable[[], object], settle: Callable[[], None] = lambda: None) -> float:
    """Calls a second, the time to ``settle`` included."""
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < BURST:
        run()
        calls += 1
    settle()
    return calls / (time.perf_counter() - start)


def _wait_acknowledged(node: EdgeNode) -> None:
    while node.meter.registry.get_sample_value("tidegate_queued_results"):
        time.sleep(0.001)
