"""The pipeline's own cost over a bare ``session.run``: both by turns in one process, a real broker beside."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from deploy.demo.broker import open_broker
from edge_node.config import EdgeConfig, Gate, Metrics, Model, Mqtt, Node, Outbox
from edge_node.node import EdgeNode
from edge_node.sample import Sample
from protos.codec import Tensor
from tests.benchmarks.table import Row

ROUNDS = 7
PACE = 0.005
"""Seconds of rest before a sample: a core that has slept is slow at first, at the model as at all else."""
TURNS = 1000
"""Samples of the cost."""
BURST = 1.0
"""Seconds a round of the throughput."""


def measure(artifacts: Mapping[str, tuple[Path, Tensor | bytes]]) -> dict[str, list[Row]]:
    """All tables, for each model the artifact and a sample of which are given."""
    return {
        "cost of one sample, one after another": [cost(name, *it) for name, it in artifacts.items()],
        "the same, each after 5 ms of rest": [cost(name, *it, PACE) for name, it in artifacts.items()],
        "throughput, flat out": [throughput(name, *it) for name, it in artifacts.items()],
    }


def cost(name: str, artifact: Path, data: Tensor | bytes, pace: float = 0) -> Row:
    """Median microseconds of each stage, by turns; ``own`` is what Tidegate adds to model and input.

    Each ``own`` is of three neighbours in time, so that a machine that drifts does not count.
    """
    with _open_node(artifact) as node:
        stages = _stages(node, data)
        turns = [{stage: _microseconds(run, pace) for stage, run in stages.items()} for _ in range(TURNS)]
    own = sorted(it["pipeline"] - it["session.run"] - it["preprocess"] for it in turns)
    return {
        "model": name,
        **{f"{stage}, µs": statistics.median(it[stage] for it in turns) for stage in stages},
        "own, µs": statistics.median(own),
        "own, middle half": f"{own[TURNS // 4]:.0f} to {own[3 * TURNS // 4]:.0f}",
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
            mqtt=Mqtt(host=broker.host, port=broker.port),
            outbox=Outbox(path=Path(folder) / "outbox", unheard="confirm"),
            metrics=Metrics(port=0),
        )
        with EdgeNode.open(settings) as node:
            yield node


def _microseconds(run: Callable[[], object], pace: float) -> float:
    """One call, ``pace`` seconds after the last."""
    if pace:
        time.sleep(pace)
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e6


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
