"""Confirmation by the results sink: a result leaves the outbox by its word, whatever the broker said."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.demo.processes import wait_until
from edge_node.broker import publisher
from edge_node.broker.connection import WINDOW
from edge_node.outbox import Outbox, Row
from protos import ack
from protos import result as contract
from protos.ack import Ack
from tests.mqtt import PATIENCE
from tests.publishing import Publishing, publishing
from tests.scripted import NOBODY, NOT_AUTHORIZED, SUCCESS, Script, ScriptedBroker, scripted

TOPIC = "tidegate/lab/a/ack"


@contextmanager
def confirmed(
    folder: Path, early: int = 0, script: Script = lambda _: SUCCESS, confirm: str = "sink"
) -> Iterator[tuple[ScriptedBroker, Publishing]]:
    """A broker that takes all, a node that waits for the sink's word."""
    told = {"confirm": confirm}
    with scripted(script) as broker, publishing(broker.port, folder, early, flush=0, outbox=told) as node:
        assert wait_until(lambda: bool(broker.subscribed), PATIENCE)
        yield broker, node


def say(broker: ScriptedBroker, node: Publishing, seq: int, stream: int | None = None) -> None:
    """The sink's word, as it comes through the broker."""
    word = Ack(stream=node.outbox.stream if stream is None else stream, seq=seq)
    broker.send(TOPIC, ack.encode(word), mid=1)


def seqs(broker: ScriptedBroker) -> list[int]:
    return [contract.decode(payload).seq for payload in broker.results]


def arrive(broker: ScriptedBroker, count: int) -> bool:
    return wait_until(lambda: len(broker.results) >= count, PATIENCE)


def floor(node: Publishing, seq: int) -> bool:
    return wait_until(lambda: node.outbox.floor() == seq, PATIENCE)


def test_a_result_waits_until_the_sink_has_it(tmp_path: Path) -> None:
    with confirmed(tmp_path, 5) as (broker, node):
        assert arrive(broker, 5)
        assert not wait_until(lambda: node.outbox.floor() > 0, 0.2)
        say(broker, node, 2)
        assert floor(node, 3)
        say(broker, node, 4)
        assert node.empty()
    assert seqs(broker) == [0, 1, 2, 3, 4]


def test_what_the_broker_would_confirm_is_not_enough(tmp_path: Path) -> None:
    """The negative of the test before."""
    with scripted() as broker, publishing(broker.port, tmp_path, 5) as node:
        assert node.empty()


def test_from_the_sink_s_first_word_on_only_the_sink_confirms(tmp_path: Path) -> None:
    """And after a restart, at a broker that remembers neither results nor sink."""
    with confirmed(tmp_path, 5, confirm="auto") as (broker, node):
        assert node.empty()
        say(broker, node, 4)
        assert wait_until(lambda: node.outbox.confirmation.by_sink, PATIENCE)
        node.publish(5)
        assert arrive(broker, 10)
        assert not wait_until(lambda: node.outbox.floor() > 5, 0.2)
        say(broker, node, 7)
        assert floor(node, 8)
    with confirmed(tmp_path, confirm="auto") as (broker, node):
        assert arrive(broker, 2)
        assert not wait_until(lambda: node.outbox.floor() > 8, 0.2)
        say(broker, node, 9)
        assert node.empty()


def test_a_fleet_that_gives_up_its_sink_says_so_once(tmp_path: Path) -> None:
    with confirmed(tmp_path, 5, confirm="auto") as (broker, node):
        say(broker, node, 4)
        assert wait_until(lambda: node.outbox.confirmation.by_sink, PATIENCE)
    with scripted() as broker, publishing(broker.port, tmp_path, 5, outbox={"confirm": "puback"}) as node:
        assert node.empty()
    with confirmed(tmp_path, 5, confirm="auto") as (broker, node):
        assert node.empty()
        assert not node.outbox.confirmation.by_sink


def test_a_sink_that_is_heard_late_is_told_what_the_broker_s_word_let_go(tmp_path: Path) -> None:
    """It waits for numbers that nobody has any more, and the node has nothing new that would say so."""

    def script(payload: bytes) -> int | None:
        return SUCCESS if contract.decode(payload).seq < 5 else None

    with confirmed(tmp_path, 10, script, confirm="auto") as (broker, node):
        assert floor(node, 5)
        assert arrive(broker, 10)
        say(broker, node, 1)
        assert arrive(broker, 11)
        assert (seqs(broker)[10], broker.floors[10]) == (5, 5)
        say(broker, node, 9)
        assert node.empty()


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"schema":"tidegate.ack/1","stream":1,"seq":-1}'])
def test_a_word_that_is_none_confirms_nothing_and_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, payload: bytes
) -> None:
    with confirmed(tmp_path, 5) as (broker, node):
        assert arrive(broker, 5)
        broker.send(TOPIC, payload, mid=1)
        say(broker, node, 1)
        assert floor(node, 2)
    assert [it.startswith(f"{TOPIC}: no word of a results sink: ") for it in caplog.messages] == [True]


def test_the_word_on_another_stream_confirms_nothing(tmp_path: Path) -> None:
    with confirmed(tmp_path, 5) as (broker, node):
        assert arrive(broker, 5)
        say(broker, node, 4, stream=node.outbox.stream - 1)
        say(broker, node, 1)
        assert floor(node, 2)


def test_an_outbox_that_was_restored_begins_another_stream_and_loses_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The sink's word is on numbers that other results had: those that have them now it never got."""
    with confirmed(tmp_path, 5) as (broker, node):
        assert arrive(broker, 5)
        say(broker, node, 20)
        assert wait_until(lambda: node.outbox.outdated, PATIENCE)
        node.publish(30)
        assert arrive(broker, 35)
        say(broker, node, 20)
        assert not wait_until(lambda: node.outbox.floor() > 0, 0.2)
    assert "is an old copy of itself" in caplog.text
    with confirmed(tmp_path) as (broker, again):
        say(broker, again, 20, stream=node.outbox.stream)
        assert arrive(broker, 35)
        say(broker, again, 34)
        assert again.empty()
    results = [contract.decode(payload) for payload in broker.results]
    assert {it.stream for it in results} == {again.outbox.stream} != {node.outbox.stream}
    assert {it.seq for it in results} == set(range(35))
    assert again.metric("tidegate_outbox_recoveries_total") == 1


def test_what_was_sent_before_a_restart_may_be_confirmed_after_it(tmp_path: Path) -> None:
    """The negative of the test before."""
    with confirmed(tmp_path, 5) as (broker, _):
        assert arrive(broker, 5)
    with confirmed(tmp_path) as (broker, node):
        say(broker, node, 4)
        assert node.empty()
        assert not node.outbox.outdated


def test_a_silent_sink_is_sent_the_oldest_alone_and_once_it_moves_all_that_it_never_got(
    tmp_path: Path,
) -> None:
    """As after a sink that was away for longer than the broker's queue for it."""
    with confirmed(tmp_path, 50) as (broker, node):
        assert arrive(broker, 50)
        say(broker, node, 9)
        assert arrive(broker, 52)
        assert seqs(broker)[50:] == [10, 10]
        assert broker.floors[50:] == [10, 10]
        say(broker, node, 10)
        assert arrive(broker, 52 + 39)
        assert seqs(broker)[52:] == list(range(11, 50))
        say(broker, node, 49)
        assert node.empty()
    assert all(contract.decode(payload).replayed for payload in broker.results)


def test_while_the_sink_moves_nothing_is_sent_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "SILENCE", (PATIENCE, PATIENCE))  # on a busy machine it may move slowly
    with confirmed(tmp_path, 200) as (broker, node):
        for seq in range(0, 200, 5):
            assert arrive(broker, seq + 1)
            say(broker, node, seq)
        say(broker, node, 199)
        assert node.empty()
    assert seqs(broker) == list(range(200))


def test_without_a_sink_only_one_result_goes_from_time_to_time(tmp_path: Path) -> None:
    with confirmed(tmp_path, 50, lambda _: NOBODY) as (broker, node):
        assert wait_until(lambda: seqs(broker).count(0) == 2, PATIENCE)
        broker.script = lambda _: SUCCESS
        assert wait_until(lambda: set(seqs(broker)) == set(range(50)), PATIENCE)
        say(broker, node, 49)
        assert node.empty()
    assert len(broker.results) <= WINDOW + 5 + 50


def test_a_gap_that_will_never_be_filled_is_told_at_once(tmp_path: Path) -> None:
    """The sink waits for a number whose result is a dead letter; nothing new is made that would say so."""

    def script(payload: bytes) -> int:
        return NOT_AUTHORIZED if contract.decode(payload).seq == 2 else SUCCESS

    with confirmed(tmp_path, 5, script) as (broker, node):
        assert arrive(broker, 5)
        assert wait_until(lambda: bool(node.dead()), PATIENCE)
        say(broker, node, 1)
        assert arrive(broker, 6)
        assert (seqs(broker)[5], broker.floors[5]) == (3, 3)
        say(broker, node, 4)
        assert node.empty()


def spoil(outbox: Outbox, seq: int) -> None:
    """A row without a number, as no node makes it."""
    with outbox._lock:
        outbox._pending.rows.append(Row(seq, b'{"schema":"tidegate.result/1"}'))
        outbox._last = seq
    outbox._wake.set()


def test_a_result_that_no_sink_could_read_is_a_dead_letter(tmp_path: Path) -> None:
    with confirmed(tmp_path) as (broker, node):
        node.publish(2)
        spoil(node.outbox, 2)
        node._next = 3
        node.publish(2)
        assert arrive(broker, 5)
        say(broker, node, 1)
        assert wait_until(
            lambda: node.metric("tidegate_dropped_results_total", reason="corrupt") == 1, PATIENCE
        )
        say(broker, node, 4)
        assert node.empty()
