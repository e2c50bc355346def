"""Samples from sensors on a real broker, whatever they send."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Timer
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from deploy.demo.broker import Broker, open_broker
from deploy.demo.processes import wait_until
from edge_node import config
from edge_node.broker import connection
from edge_node.broker.connection import Connection
from edge_node.config import Mqtt, Node
from edge_node.errors import NodeError, SampleError
from edge_node.identity import Identity
from edge_node.metrics import Meter
from edge_node.sample import Sample
from edge_node.sources.mqtt import MqttSource
from tests.ledger import exposition, value
from tests.mqtt import PATIENCE, kill, publish, restart


def source(
    broker: Broker, topic: str, meter: Meter | None = None, name: str = "a", **settings: Any
) -> tuple[MqttSource, Connection]:
    """A source, and the connection that brings it its samples, not yet at work."""
    meter, node = meter or Meter(), Node(site="lab", name=name)
    connection = Connection(Mqtt(host=broker.host, port=broker.port), Identity(node), dict, meter)
    return MqttSource(config.MqttSource(topic=topic, **settings), connection, meter), connection


@contextmanager
def sampling(
    broker: Broker, topic: str, meter: Meter | None = None, **settings: Any
) -> Iterator[Iterator[Sample]]:
    """The samples of a source at work; they end if none comes."""
    stop = Event()
    overdue = Timer(PATIENCE, stop.set)
    overdue.start()
    opened, connection = source(broker, topic, meter, uuid4().hex, **settings)  # no session of another test
    with connection:
        yield opened.samples(stop)
    overdue.cancel()
    overdue.join()


def data(broker: Broker, root: str, payload: bytes, **settings: Any) -> Any:
    """What becomes of a payload; it is retained, so that it does not matter who is there first."""
    publish(broker, f"{root}/sensor", payload, retain=True)
    with sampling(broker, f"{root}/+", **settings) as samples:
        return next(samples).data


def test_a_sample_is_named_by_its_topic(broker: Broker, root: str) -> None:
    publish(broker, f"{root}/motion/left", b"[1, 2, 3]", retain=True)
    with sampling(broker, f"{root}/#") as samples:
        assert next(samples).name == f"{root}/motion/left"


def test_a_json_payload_is_an_array(broker: Broker, root: str) -> None:
    assert np.array_equal(data(broker, root, b"[[1, 2], [3, 4]]"), [[1, 2], [3, 4]])


def test_a_raw_payload_stays_the_bytes_it_is(broker: Broker, root: str) -> None:
    assert data(broker, root, b"\0\xff\x80", encoding="raw") == b"\0\xff\x80"


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (b"\0\xff", "not JSON: "),
        (b"21.5 degrees", "not JSON: "),
        (b'{"temperature": 21.5}', "not an array of numbers"),
        (b'["warm"]', "not an array of numbers"),
        (b"[[1], [2, 3]]", "a ragged or too deeply nested array"),
        (b"[" * 50_000, "a ragged or too deeply nested array"),
    ],
    ids=["bytes", "text", "object", "strings", "ragged", "deep"],
)
def test_a_payload_that_is_no_array_is_a_sample_with_its_error(
    broker: Broker, root: str, payload: bytes, problem: str
) -> None:
    found = data(broker, root, payload)
    assert isinstance(found, SampleError)
    assert str(found).startswith(problem)


def test_an_empty_payload_is_a_sample_with_its_error(broker: Broker, root: str) -> None:
    publish(broker, f"{root}/first", b"[1]", retain=True)
    with sampling(broker, f"{root}/+") as samples:
        assert next(samples).name == f"{root}/first"
        publish(broker, f"{root}/second", b"")
        assert str(next(samples).data) == "not JSON: Input data was truncated"


def test_when_the_queue_is_full_the_oldest_sample_goes_and_is_counted(broker: Broker, root: str) -> None:
    meter = Meter()
    publish(broker, f"{root}/first", b"[1]", retain=True)
    with sampling(broker, f"{root}/+", meter, queue=2) as samples:
        assert next(samples).name == f"{root}/first"
        for name in ("a", "b", "c", "d"):
            publish(broker, f"{root}/{name}", b"[1]")
        assert wait_until(lambda: dropped(meter) == 2, PATIENCE)
        assert [next(samples).name for _ in range(2)] == [f"{root}/c", f"{root}/d"]


def dropped(meter: Meter) -> float:
    return value(exposition(meter.registry), "tidegate_dropped_samples_total")


@pytest.mark.parametrize(
    "topic", ["#", "tidegate/#", "tidegate/+/+/+", "tidegate/lab/a/result", "$share/g/#"]
)
def test_a_topic_that_covers_the_node_s_own_results_is_refused(broker: Broker, topic: str) -> None:
    with pytest.raises(NodeError) as caught:
        source(broker, topic)
    assert str(caught.value) == (
        f"[source] topic {topic!r} would feed this node its own results (tidegate/lab/a/result)"
    )


@pytest.mark.parametrize(
    "topic", ["tidegate/lab/b/result", "tidegate/+/+/status", "sensors/#", "$share/g/s/+"]
)
def test_a_topic_of_others_is_taken(broker: Broker, topic: str) -> None:
    assert source(broker, topic)[0].live


@pytest.mark.parametrize("topic", ["a/#/b", "a+/b", "#a", "a/b#"])
def test_a_topic_that_is_no_filter_is_refused(broker: Broker, topic: str) -> None:
    with pytest.raises(NodeError, match=r"\+ stands for one whole level, # for all levels at the end$"):
        source(broker, topic)


def test_a_waiting_source_stops(broker: Broker, root: str) -> None:
    stop = Event()
    stop.set()
    opened, connection = source(broker, f"{root}/+")
    with connection:
        assert list(opened.samples(stop)) == []


def test_a_broker_that_is_absent_at_start_or_lost_is_subscribed_when_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "BACK_OFF", (0.1, 1.0))
    with open_broker(tmp_path) as mortal:
        kill(mortal)
        with sampling(mortal, "sensors/+") as samples:
            for name in ("sensors/a", "sensors/b"):
                restart(mortal)
                publish(mortal, name, b"[1]", retain=True)
                assert next(samples).name == name
                kill(mortal)
            restart(mortal)
