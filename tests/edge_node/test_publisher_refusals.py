"""What a broker may answer to a result: now, later or never; and a result that it cannot bear."""

from pathlib import Path
from typing import Any

import pytest

from deploy.demo.processes import wait_until
from edge_node.broker.connection import WINDOW
from edge_node.broker.publisher import TRIES
from edge_node.broker.suspects import GUILTY
from protos import result as contract
from tests.mqtt import PATIENCE
from tests.publishing import publishing
from tests.scripted import (
    FORMAT,
    NOBODY,
    NOT_AUTHORIZED,
    QUOTA,
    SUCCESS,
    TOO_LARGE,
    UNSPECIFIED,
    Answer,
    End,
    scripted,
)


def poisoned(answer: Answer, *seqs: int) -> Any:
    """A script that answers so to the results of these numbers, and takes all others."""
    return lambda payload: answer if contract.decode(payload).seq in seqs else SUCCESS


def arrived(results: list[bytes]) -> list[int]:
    return [contract.decode(payload).seq for payload in results]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(NOT_AUTHORIZED, "Not authorized"), (FORMAT, "Payload format invalid")],
)
def test_what_is_refused_for_good_is_a_dead_letter_and_holds_up_nothing(
    tmp_path: Path, answer: int, reason: str
) -> None:
    with scripted(poisoned(answer, 3)) as broker, publishing(broker.port, tmp_path, 50) as node:
        assert node.empty()
        assert node.dead() == [(3, f"the broker refuses it: {reason}")]
    assert broker.connects == 1
    assert arrived(broker.results) == list(range(50))


@pytest.mark.parametrize("answer", [QUOTA, NOBODY])
def test_what_is_refused_for_now_is_sent_again_until_it_is_taken(tmp_path: Path, answer: int) -> None:
    answers = iter([SUCCESS, *[answer] * (WINDOW + 1)])
    with scripted(lambda _: next(answers, SUCCESS)) as broker, publishing(broker.port, tmp_path, 50) as node:
        assert node.empty()
        assert node.dead() == []
    assert broker.connects == 1
    assert set(arrived(broker.results)) == set(range(50))


def test_while_nothing_is_taken_one_result_goes_from_time_to_time(tmp_path: Path) -> None:
    with scripted(lambda _: QUOTA) as broker, publishing(broker.port, tmp_path, 50) as node:
        assert wait_until(lambda: arrived(broker.results).count(0) == 3, PATIENCE)
        node.publish(50)
    seqs = arrived(broker.results)
    before = seqs.index(0, 1)
    assert seqs[:before] == list(range(before))
    assert set(seqs[before:]) == {0}


def test_a_result_that_is_refused_without_a_cause_each_time_is_given_up(tmp_path: Path) -> None:
    with scripted(poisoned(UNSPECIFIED, 3)) as broker, publishing(broker.port, tmp_path, 50) as node:
        assert node.empty()
        assert node.dead() == [(3, "the broker refuses it: Unspecified error")]
    assert arrived(broker.results).count(3) == 1 + TRIES
    assert set(arrived(broker.results)) == set(range(50))


def test_a_result_larger_than_the_broker_says_it_takes_is_not_sent(tmp_path: Path) -> None:
    with (
        scripted(MaximumPacketSize=2000) as broker,
        publishing(broker.port, tmp_path, flush=0) as node,
    ):
        assert node.connected()
        node.publish(2)
        node.publish(1, sample="x" * 2000)
        node.publish(2)
        assert node.empty()
        (seq, reason), *others = node.dead()
        assert node.metric("tidegate_dropped_results_total", reason="oversize") == 1
    assert (seq, others) == (2, [])
    assert reason.startswith("too large: 2")
    assert reason.endswith(" bytes, the broker takes 2000")
    assert (broker.connects, arrived(broker.results)) == (1, [0, 1, 3, 4])


def test_the_size_of_a_result_is_counted_as_the_broker_counts_it(tmp_path: Path) -> None:
    with scripted() as broker, publishing(broker.port, tmp_path / "any", 1) as node:
        assert node.empty()
    for limit, dead in ((broker.sizes[0], 0), (broker.sizes[0] - 1, 1)):
        folder = tmp_path / str(limit)
        with scripted(MaximumPacketSize=limit) as strict, publishing(strict.port, folder, 1) as node:
            assert node.empty()
            assert len(node.dead()) == dead


def test_a_broker_that_says_only_by_ending_the_connection_that_one_is_too_large(tmp_path: Path) -> None:
    def script(payload: bytes) -> Answer:
        return End(TOO_LARGE) if len(payload) > 2000 else SUCCESS

    with scripted(script) as broker, publishing(broker.port, tmp_path) as node:
        assert node.connected()
        node.publish(5)
        node.publish(1, sample="x" * 2000)
        node.publish(5)
        assert node.empty()
        assert node.dead() == [(5, "the broker ends the connection: Packet too large")]
    assert broker.connects == 2
    assert set(arrived(broker.results)) == set(range(11))


@pytest.mark.parametrize(("answer", "connects"), [(End(FORMAT), 3), (End(), GUILTY + 1)])
def test_a_result_at_which_the_broker_ends_the_connection_is_found_and_given_up(
    tmp_path: Path, answer: Answer, connects: int
) -> None:
    with scripted(poisoned(answer, 3)) as broker, publishing(broker.port, tmp_path, 50) as node:
        assert node.empty(patience=3 * PATIENCE)
        assert [seq for seq, _ in node.dead()] == [3]
    assert broker.connects == connects
    assert set(arrived(broker.results)) == set(range(50))


@pytest.mark.parametrize("limits", [{}, {"ReceiveMaximum": 1}])
def test_two_that_the_broker_cannot_bear_do_not_hide_each_other(
    tmp_path: Path, limits: dict[str, Any]
) -> None:
    """One waits from before, the other is new: each is met while the other is set aside."""
    with (
        scripted(poisoned(End(FORMAT), 3, 60), **limits) as broker,
        publishing(broker.port, tmp_path, 50) as node,
    ):
        node.publish(50)
        assert node.empty(patience=3 * PATIENCE)
        assert [seq for seq, _ in node.dead()] == [3, 60]
    assert set(arrived(broker.results)) == set(range(100))


def test_connections_that_end_by_chance_cost_no_result(tmp_path: Path) -> None:
    """The negative of the test before: others are under way, or get through, each time."""
    ends = iter([SUCCESS] * 5 + [End()] + [SUCCESS] * 10 + [End()] + [SUCCESS] * 20 + [End()])
    with scripted(lambda _: next(ends, SUCCESS)) as broker, publishing(broker.port, tmp_path, 50) as node:
        assert node.empty()
        assert node.dead() == []
    assert broker.connects == 4


def test_no_more_is_under_way_than_the_broker_says(tmp_path: Path) -> None:
    with scripted(lambda _: None, ReceiveMaximum=5) as broker, publishing(broker.port, tmp_path, 50, flush=0):
        assert wait_until(lambda: broker.most == 5, PATIENCE)
    assert broker.most == 5


def test_no_more_is_under_way_than_the_window(tmp_path: Path) -> None:
    with scripted(lambda _: None) as broker, publishing(broker.port, tmp_path, 50, flush=0):
        assert wait_until(lambda: broker.most == WINDOW, PATIENCE)
    assert broker.most == WINDOW


def test_an_answer_that_is_none_ends_the_connection_and_not_the_publisher(tmp_path: Path) -> None:
    nonsense = iter([0x42])
    with scripted(lambda _: next(nonsense, SUCCESS)) as broker, publishing(broker.port, tmp_path, 50) as node:
        assert node.empty()
    assert broker.connects == 2
    assert set(arrived(broker.results)) == set(range(50))
