"""A snapshot: the whole of `/metrics`, small; and what is none is refused with one line."""

import json
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf, nan
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from deploy.demo.broker import Broker, open_broker
from deploy.demo.processes import wait_until
from edge_node.broker.snapshot import Snapshots
from edge_node.node import EdgeNode
from protos import snapshot
from protos.artifact import Artifact
from protos.snapshot import Amounts, Readings, Snapshot, Spread
from tests import mqtt
from tests.mqtt import PATIENCE
from tests.nodes import opened, settings

SURE = np.array([0, 5, 0], np.float32)
SMALL = 2000
"""Bytes: a hundred series in less than two results."""


def made(registry: CollectorRegistry) -> Snapshot:
    return snapshot.decode(Snapshots(registry, 7, 15.0).make())


def samples(found: Snapshot) -> float:
    family = next(it for it in found.families if it.name == "tidegate_samples_total")
    assert isinstance(family, snapshot.Counter)
    return family.series[0].value


@contextmanager
def running(
    tmp_path: Path, artifact: Artifact, broker: Broker, root: str, every: float
) -> Iterator[EdgeNode]:
    section = {"host": broker.host, "port": broker.port, "root": root}
    metrics = {"port": 0, "snapshot": every}
    with opened(settings(tmp_path, artifact, mqtt=section, metrics=metrics)) as node:
        yield node


def test_a_node_says_everything_in_few_bytes(tmp_path: Path, artifact: Artifact) -> None:
    with opened(settings(tmp_path, artifact)) as node:
        for _ in range(100):
            node.infer(SURE)
        payload = Snapshots(node.meter.registry, 7, 15.0).make()
        shown = {metric.name for metric in node.meter.registry.collect() if metric.samples}
    assert len(payload) < SMALL
    assert len(zlib.decompress(payload)) > 2 * len(payload), "compression pays"
    families = snapshot.decode(payload).families
    assert {it.name.removesuffix("_total").removesuffix("_info") for it in families} == shown


def test_values_survive() -> None:
    registry = CollectorRegistry()
    Counter("tidegate_counted", "-", ["how"], registry=registry).labels("a b").inc(0.1)
    gauge = Gauge("tidegate_read", "-", ["what"], registry=registry)
    for what, value in (("nan", nan), ("high", inf), ("low", -inf), ("large", 1e300), ("half", -0.5)):
        gauge.labels(what).set(value)
    timed = Histogram("tidegate_timed_seconds", "-", ["route"], buckets=(0.1, 1), registry=registry)
    for seconds in (0.05, 0.05, 0.5, 5):
        timed.labels("edge").observe(seconds)
    timed.labels("cloud")
    counted, read, spread = made(registry).families
    assert counted.series == (Amounts(("a b",), 0.1),)
    assert read.series == (
        Readings(("nan",), "NaN"),
        Readings(("high",), "+Inf"),
        Readings(("low",), "-Inf"),
        Readings(("large",), 1e300),
        Readings(("half",), -0.5),
    )
    assert spread.series == (Spread(("edge",), (2, 1, 1), 5.6), Spread(("cloud",), (0, 0, 0), 0))


def test_they_count_up_within_a_session() -> None:
    snapshots = Snapshots(CollectorRegistry(), 7, 15.0)
    first, second = (snapshot.decode(snapshots.make()) for _ in range(2))
    assert (first.session, first.sequence, second.sequence, first.interval) == (7, 0, 1, 15.0)
    assert 0 <= first.uptime <= second.uptime


def test_a_node_publishes_them(tmp_path: Path, artifact: Artifact, broker: Broker, root: str) -> None:
    with (
        mqtt.subscribed(broker, f"{root}/lab/a/metrics") as inbox,
        running(tmp_path, artifact, broker, root, 0.2) as node,
    ):
        node.infer(SURE)
        messages, found = [], list[Snapshot]()
        while len(found) < 3 or samples(found[-1]) < 1:
            messages.append(inbox.get())
            found.append(snapshot.decode(bytes(messages[-1].payload)))
    assert [it.sequence for it in found] == list(range(len(found)))
    assert not any(message.retain or message.qos for message in messages)
    assert samples(found[-1]) == 1


def test_none_are_sent_if_none_are_wanted(
    tmp_path: Path, artifact: Artifact, broker: Broker, root: str
) -> None:
    with (
        mqtt.subscribed(broker, f"{root}/lab/a/+") as inbox,
        running(tmp_path, artifact, broker, root, 0) as node,
    ):
        node.infer(SURE)
        leaves = [inbox.get().topic.rpartition("/")[2] for _ in range(2)]
    assert sorted(leaves) == ["result", "status"]


def test_none_is_made_or_kept_for_a_broker_that_is_away(tmp_path: Path, artifact: Artifact) -> None:
    with open_broker(tmp_path) as broker, running(tmp_path, artifact, broker, "away", 0.2) as node:
        with mqtt.subscribed(broker, "away/lab/a/metrics") as inbox:
            before = snapshot.decode(bytes(inbox.get().payload)).sequence
        mqtt.kill(broker)
        assert wait_until(lambda: not _connected(node), PATIENCE)
        back = time.monotonic() + 2.0
        for _ in range(10):
            node.infer(SURE)
        assert wait_until(lambda: time.monotonic() > back, PATIENCE)
        mqtt.restart(broker)
        with mqtt.subscribed(broker, "away/lab/a/metrics") as inbox:
            after = snapshot.decode(bytes(inbox.get().payload))
    assert before < after.sequence < before + 10, "there was time for ten"
    assert samples(after) == 10


def _connected(node: EdgeNode) -> bool:
    return node.meter.registry.get_sample_value("tidegate_mqtt_connected") == 1


def test_a_mistake_in_a_metric_does_not_stop_results(
    tmp_path: Path, artifact: Artifact, broker: Broker, root: str, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        mqtt.subscribed(broker, f"{root}/lab/a/result") as inbox,
        running(tmp_path, artifact, broker, root, 0.05) as node,
    ):
        broken = Event()
        broken.set()
        node.meter.before_scrape(lambda: _fail_while(broken))
        assert wait_until(lambda: "a mistake of ours" in caplog.text, PATIENCE)
        node.infer(SURE)
        assert inbox.results(1)
        broken.clear()
    caplog.clear()


def _fail_while(broken: Event) -> None:
    if broken.is_set():
        raise RuntimeError


GOOD: dict[str, Any] = {
    "schema": "tidegate.metrics/1",
    "session": 1,
    "sequence": 0,
    "uptime": 1.0,
    "interval": 15.0,
    "families": [],
}


def packed(**changes: Any) -> bytes:
    return zlib.compress(json.dumps({**GOOD, **changes}).encode())


def families(*found: Any) -> bytes:
    return packed(families=list(found))


def one(name: str = "tidegate_x_total", label: str = "a", text: str = "b", value: Any = 1) -> bytes:
    kind = "counter" if name.endswith("_total") else "gauge"
    return families([kind, name, [label], [[[text], value]]])


@pytest.mark.parametrize(
    "payload", [packed(), packed(new=1), one(), one("process_x", value="NaN"), one(text="")]
)
def test_taken(payload: bytes) -> None:
    snapshot.decode(payload)


REFUSED = {
    "nothing": b"",
    "no zlib": b"{}",
    "plain JSON": json.dumps(GOOD).encode(),
    "too many bytes": b"x" * (snapshot.LARGEST + 1),
    "a bomb": zlib.compress(b" " * 100_000_000),
    "cut short": packed()[:-5],
    "no JSON": zlib.compress(b"\xff"),
    "deep": zlib.compress(b"[" * 500_000),
    "another schema": packed(schema="tidegate.metrics/2"),
    "a session below zero": packed(session=-1),
    "a session of 64 bits": packed(session=2**63),
    "no interval": packed(interval=0),
    "too many families": families(*[["gauge", f"tidegate_x{number}", [], []] for number in range(257)]),
    "a family twice": families(*[["gauge", "tidegate_x", [], []]] * 2),
    "another's name": one("up"),
    "the bridge's name": one("tidegate_node_up"),
    "a name with a line": one("tidegate_x\ny 1"),
    "a name that ends a line": one("tidegate_x\n"),
    "a long name": one("tidegate_" + "x" * 65),
    "a counter's name for a gauge": families(["gauge", "tidegate_x_total", [], []]),
    "a gauge's name for a counter": families(["counter", "tidegate_x", [], []]),
    "a bucket's name": one("tidegate_x_bucket"),
    "a sum's name": one("tidegate_x_sum"),
    "another kind": families(["summary", "tidegate_x", [], []]),
    "the site": one(label="site"),
    "the node": one(label="node"),
    "the job": one(label="job"),
    "the instance": one(label="instance"),
    "a bucket's label": one(label="le"),
    "a reserved label": one(label="__name__"),
    "a label with a space": one(label="a b"),
    "a label that ends a line": one(label="a\n"),
    "a long label": one(label="a" * 33),
    "a line in a value": one(text="a\nb"),
    "a value that ends a line": one(text="a\n"),
    "a NUL in a value": one(text="a\0"),
    "a long value": one(text="a" * 129),
    "a counter below zero": one(value=-1),
    "a counter that is no number": one(value="NaN"),
    "a counter beyond all bounds": one(value=1e300),
    "a gauge that is no number": one("tidegate_x", value="1"),
    "labels twice": families(["gauge", "tidegate_x", ["a", "a"], []]),
    "nine labels": families(["gauge", "tidegate_x", [f"l{number}" for number in range(9)], []]),
    "a series twice": families(["gauge", "tidegate_x", [], [[[], 1], [[], 2]]]),
    "a value too few": families(["gauge", "tidegate_x", ["a"], [[[], 1]]]),
    "a value too many": families(["gauge", "tidegate_x", [], [[["a"], 1]]]),
    "bounds that fall": families(["histogram", "tidegate_x", [], [[[], [1, 1, 1], 1]], [2, 1]]),
    "a bucket too few": families(["histogram", "tidegate_x", [], [[[], [1, 1], 1]], [1, 2]]),
    "a bucket below zero": families(["histogram", "tidegate_x", [], [[[], [1, -1], 1]], [1]]),
    "something more": families(["gauge", "tidegate_x", [], [], 1, 2]),
}


@pytest.mark.parametrize("payload", REFUSED.values(), ids=REFUSED)
def test_refused(payload: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)) as refused:
        snapshot.decode(payload)
    assert "\n" not in str(refused.value)


@given(st.text(max_size=200))
def test_no_text_breaks_out_of_its_line(text: str) -> None:
    """Whatever is taken has one line, and PromQL's quotes can be escaped."""
    try:
        found = snapshot.decode(one(text=text))
    except ValueError:
        return
    (taken,) = found.families[0].series[0].labels
    assert taken == text
    assert len(taken) <= 128
    assert not any(ord(character) < 32 for character in taken)


@given(st.binary(max_size=300) | st.binary(max_size=300).map(zlib.compress))
def test_no_bytes_do_harm(payload: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        snapshot.decode(payload)
