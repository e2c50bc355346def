"""Samples of sensors across crashes and failures of the link: none skipped, none answered twice."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from deploy.demo.broker import Broker
from deploy.demo.processes import HOST, wait_until
from edge_node import config
from edge_node.bookmark import Replayable
from edge_node.broker.connection import Connection
from edge_node.config import Mqtt, Node
from edge_node.identity import Identity
from edge_node.metrics import Meter
from edge_node.outbox import Outbox
from edge_node.sample import Sample
from edge_node.sources import resume
from edge_node.sources.mqtt import MqttBookmark, MqttSource
from tests.mqtt import PATIENCE, publish
from tests.publishing import LINGER
from tests.results import numbered
from tests.scripted import ScriptedBroker, scripted


class Answering:
    """A node without a model: each sample gets its result in the outbox, by our leave."""

    def __init__(self, source: MqttSource, outbox: Outbox, stop: Event) -> None:
        self.taken: list[Sample] = []
        self._source, self._outbox, self._stop = source, outbox, stop
        self._answered = 0

    def run(self) -> None:
        for sample in self._source.samples(self._stop):
            self.taken.append(sample)

    def takes(self, count: int) -> bool:
        return wait_until(lambda: len(self.taken) == count, PATIENCE)

    def answer(self, *samples: Sample) -> None:
        """Commit their results."""
        seq = self._outbox.next_seq + self._answered
        for result, sample in zip(numbered(len(samples), seq), samples, strict=True):
            self._outbox.append(result, place=sample.place)
        self._answered += len(samples)
        last = seq + len(samples) - 1
        assert wait_until(lambda: self._outbox.committed() == last, PATIENCE)


@contextmanager
def answering(port: int, folder: Path, topic: str = "s/+", queue: int = 100) -> Iterator[Answering]:
    """A source at work that goes on where the outbox in this folder says; it ends as by a crash."""
    meter, stop = Meter(), Event()
    connection = Connection(
        Mqtt(host=HOST, port=port), Identity(Node(site="lab", name=folder.name)), dict, meter
    )
    source = MqttSource(config.MqttSource(topic=topic, queue=queue), connection, meter)
    with Outbox(config.Outbox(linger=LINGER), folder, meter) as outbox:
        resume(source, outbox)
        node = Answering(source, outbox, stop)
        thread = Thread(target=node.run)
        with connection:
            thread.start()
            yield node
            stop.set()
            thread.join()


def subscribes(broker: ScriptedBroker, times: int = 1) -> bool:
    return wait_until(lambda: len(broker.subscribed) == times, PATIENCE)


def test_a_message_is_acknowledged_once_its_result_is_on_the_disk(tmp_path: Path) -> None:
    with scripted() as broker, answering(broker.port, tmp_path) as node:
        assert subscribes(broker)
        broker.send("s/a", b"[1]", mid=7)
        broker.send("s/a", b"[2]", mid=8)
        assert node.takes(2)
        node.answer(node.taken[1])
        assert wait_until(lambda: broker.pubacks == [8], PATIENCE)
        node.answer(node.taken[0])
        assert wait_until(lambda: broker.pubacks == [8, 7], PATIENCE)


def test_what_is_sent_again_while_it_is_under_way_is_not_taken_twice(tmp_path: Path) -> None:
    with scripted(resumed=True) as broker, answering(broker.port, tmp_path) as node:
        assert subscribes(broker)
        broker.send("s/a", b"[1]", mid=7)
        broker.send("s/a", b"[1]", mid=7, again=True)
        broker.send("s/a", b"[1]", mid=8)
        assert node.takes(2)
        node.answer(*node.taken)
        assert wait_until(lambda: broker.pubacks == [7, 8], PATIENCE)


def test_after_a_crash_what_has_a_result_is_only_acknowledged(tmp_path: Path) -> None:
    with scripted() as broker, answering(broker.port, tmp_path) as node:
        assert subscribes(broker)
        broker.send("s/a", b"[1]", mid=7)
        broker.send("s/a", b"[2]", mid=8)
        assert node.takes(2)
        node.answer(node.taken[0])
    with scripted(resumed=True) as broker, answering(broker.port, tmp_path) as node:
        assert subscribes(broker)
        broker.send("s/a", b"[1]", mid=7, again=True)
        broker.send("s/a", b"[2]", mid=8, again=True)
        assert wait_until(lambda: broker.pubacks == [7], PATIENCE)
        assert node.takes(1)
        assert str(node.taken[0].data) == "[2]"


@pytest.mark.parametrize(
    ("again", "payload", "resumed"),
    [(False, b"[1]", True), (True, b"[2]", True), (True, b"[1]", False)],
    ids=["new", "another", "forgotten"],
)
def test_a_number_used_anew_is_a_new_message(
    tmp_path: Path, *, again: bool, payload: bytes, resumed: bool
) -> None:
    """The negative of the test before: not the mark, the payload or the session alone."""
    with scripted() as broker, answering(broker.port, tmp_path) as node:
        assert subscribes(broker)
        broker.send("s/a", b"[1]", mid=7)
        assert node.takes(1)
        node.answer(*node.taken)
    with scripted(resumed=resumed) as broker, answering(broker.port, tmp_path) as node:
        assert subscribes(broker)
        broker.send("s/a", payload, mid=7, again=again)
        assert node.takes(1)


def test_a_message_that_is_dropped_is_acknowledged() -> None:
    meter, sent = Meter(), list[int]()
    connection = Connection(Mqtt(host=HOST), Identity(Node(site="lab", name="a")), dict, meter)
    source = MqttSource(config.MqttSource(topic="s/+", queue=1), connection, meter)
    bookmark = MqttBookmark(None, sent.append, at_once=10)
    source._bookmark = bookmark
    for mid in (1, 2, 3):
        source._queue(Sample("s/a", b"", place=bookmark.take(mid, b"x", again=False)))
    assert sent == [1, 2]


def test_what_a_broker_may_have_missed_is_remembered_and_no_more() -> None:
    """It has at most ``at_once`` messages under way, and acknowledgements do not overtake each other."""
    acknowledged: list[int] = []
    bookmark = MqttBookmark(None, acknowledged.append, at_once=10)
    for mid in range(1, 31):
        place = bookmark.take(mid, b"x", again=False)
        assert place
        bookmark.finish([place])
    later = MqttBookmark(bookmark.dump(), acknowledged.append, at_once=10)
    later.begin(resumed=True)
    assert acknowledged == list(range(1, 31))
    assert [mid for mid in range(1, 31) if later.take(mid, b"x", again=True)] == list(range(1, 21))


def test_nothing_is_acknowledged_before_it_is_kept_even_if_it_is_sent_again() -> None:
    acknowledged: list[int] = []
    bookmark = MqttBookmark(None, acknowledged.append, at_once=10)
    place = bookmark.take(1, b"x", again=False)
    assert place
    bookmark.dump([place])
    assert bookmark.take(1, b"x", again=True) is None
    assert acknowledged == []
    bookmark.finish([place])
    assert acknowledged == [1]


def test_a_place_of_a_session_that_the_broker_forgot_is_nobody_s() -> None:
    acknowledged: list[int] = []
    bookmark = MqttBookmark(None, acknowledged.append, at_once=10)
    old = bookmark.take(1, b"x", again=False)
    assert old
    bookmark.begin(resumed=False)
    assert bookmark.take(1, b"y", again=False)
    bookmark.finish([old])
    bookmark.drop(old)
    assert acknowledged == []


@pytest.mark.parametrize("saved", [b"", b"\xc1", b"[1]"])
def test_a_bookmark_that_is_none_is_a_new_one(saved: bytes) -> None:
    assert MqttBookmark(saved, lambda _: None, at_once=10).take(1, b"x", again=True)


def test_what_was_sent_to_a_node_that_was_away_is_taken_when_it_is_back(
    broker: Broker, tmp_path: Path, root: str
) -> None:
    """The broker's session with it outlives the node."""
    with answering(broker.port, tmp_path, f"{root}/+") as node:
        assert isinstance(node._source, Replayable)
        publish(broker, f"{root}/here", b"[0]", retain=True)
        assert node.takes(1)
        node.answer(*node.taken)
    for number in range(3):
        publish(broker, f"{root}/away", f"[{number}]".encode())
    with answering(broker.port, tmp_path, f"{root}/+") as node:
        assert node.takes(3)
        assert [str(sample.data) for sample in node.taken] == ["[0]", "[1]", "[2]"]
        node.answer(*node.taken)


def test_what_an_earlier_setting_subscribed_to_is_let_go(broker: Broker, tmp_path: Path, root: str) -> None:
    with answering(broker.port, tmp_path, f"{root}/old/+") as node:
        publish(broker, f"{root}/old/a", b"[0]", retain=True)
        assert node.takes(1)
    with answering(broker.port, tmp_path, f"{root}/new/+") as node:
        publish(broker, f"{root}/old/a", b"[1]")
        publish(broker, f"{root}/new/a", b"[2]", retain=True)
        assert node.takes(1)
        assert str(node.taken[0].data) == "[2]"
