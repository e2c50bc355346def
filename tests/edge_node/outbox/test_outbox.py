"""The outbox as a node uses it: in order, across restarts, for one process at a time."""

from pathlib import Path
from threading import Event

import pytest

from edge_node.bookmark import OrderedBookmark
from edge_node.errors import OutboxError
from edge_node.outbox import Held
from edge_node.outbox import outbox as module
from protos import result as contract
from tests.outboxes import box, ids


def test_what_was_appended_can_be_read_in_order_once_it_is_committed(tmp_path: Path) -> None:
    with box(tmp_path) as outbox:
        outbox.put(100)
        outbox.settle()
        assert outbox.committed() == 99
        assert outbox.all() == list(range(100))
        assert [row.seq for row in outbox.rows(9, 3)] == [10, 11, 12]
        assert [row.seq for row in outbox.rows(9, 50, before=12)] == [10, 11]
        assert outbox.rows(99, 10) == []


def test_nothing_can_be_read_before_it_is_committed(tmp_path: Path) -> None:
    with box(tmp_path, linger=60) as outbox:
        outbox.put(1)
        outbox.settle()
        outbox.put(1)
        assert outbox.all() == [0]
        assert outbox.depth().rows == 2


def test_leaving_commits_what_is_left(tmp_path: Path) -> None:
    with box(tmp_path, linger=60) as outbox:
        outbox.put(1)
        outbox.settle()
        outbox.put(9)
    with box(tmp_path) as outbox:
        assert outbox.all() == list(range(10))


def test_numbers_go_on_across_restarts_in_a_session_of_their_own(tmp_path: Path) -> None:
    with box(tmp_path) as first:
        first.put(3)
    with box(tmp_path) as second:
        assert (second.stream, second.next_seq) == (first.stream, 3)
        assert second.session > first.session
        second.put(2)
        second.settle()
        assert second.all() == [0, 1, 2, 3, 4]
        assert len(set(ids(second.rows(-1, 9)))) == 5


def test_numbers_go_on_when_nothing_waits(tmp_path: Path) -> None:
    with box(tmp_path) as outbox:
        outbox.put(3)
        outbox.settle()
        outbox.confirm(2)
    with box(tmp_path) as outbox:
        assert (outbox.all(), outbox.next_seq, outbox.floor()) == ([], 3, 3)


def test_confirmed_rows_leave(tmp_path: Path) -> None:
    with box(tmp_path) as outbox:
        outbox.put(10)
        outbox.settle()
        outbox.confirm(3)
        outbox.confirm_each([5, 7])
        assert outbox.all() == [4, 6, 8, 9]  # at once, although the disk does not know yet
        outbox.settle()
        assert outbox.floor() == 4
        assert outbox.depth().rows == 4
    with box(tmp_path) as outbox:
        assert outbox.all() == [4, 6, 8, 9]
        outbox.confirm_each([4, 6])
        assert outbox.all() == [8, 9]


def test_a_confirmation_of_what_was_never_sent_is_not_believed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with box(tmp_path) as outbox:
        outbox.put(3)
        outbox.settle()
        outbox.confirm(7)
        outbox.settle()
        assert outbox.all() == [0, 1, 2]
    assert "not believed" in caplog.text


def test_what_no_longer_fits_into_memory_is_read_from_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TAIL", 20_000)
    with box(tmp_path) as outbox:
        outbox.put(100)
        outbox.settle()
        assert outbox._tail.start > 50
        assert outbox.all() == list(range(100))
        assert ids(outbox.rows(20, 2)) == [f"lab.a.{outbox.session}.{seq}" for seq in (21, 22)]


def test_a_commit_is_told(tmp_path: Path) -> None:
    told = Event()
    with box(tmp_path) as outbox:
        outbox.on_commit(told.set)
        outbox.put(1)
        assert told.wait(20)
        assert outbox.committed() == 0


def test_dead_letters_are_kept_but_wait_no_more(tmp_path: Path) -> None:
    with box(tmp_path) as outbox:
        outbox.put(3)
        outbox.settle()
        outbox.dead(0, "Not authorized")
        outbox.settle()
        assert (outbox.all(), outbox.floor(), outbox.depth().rows) == ([1, 2], 1, 2)


def test_an_input_is_held_until_its_final_result(tmp_path: Path) -> None:
    with box(tmp_path) as outbox:
        for name, confidence in (("a", 0.5), ("b", 0.3), ("c", 0.7)):
            outbox.put(1, hold=Held(name, confidence, b"x" * 10_000))
        outbox.settle()
        assert [held.id for held in outbox.held(2)] == ["b", "a"]
        outbox.put(1, release="b")
    with box(tmp_path) as outbox:
        assert outbox.held(9) == [Held("a", 0.5, b"x" * 10_000), Held("c", 0.7, b"x" * 10_000)]
        assert outbox.surplus(9) == []


def test_the_surest_inputs_are_to_be_given_up_where_there_are_too_many(tmp_path: Path) -> None:
    with box(tmp_path, max_held_bytes=25_000) as outbox:
        for name, confidence in (("a", 0.5), ("b", 0.3), ("c", 0.7), ("d", 0.6)):
            outbox.put(1, hold=Held(name, confidence, b"x" * 10_000))
        outbox.settle()
        assert [held.id for held in outbox.surplus(9)] == ["c", "d"]
        outbox.put(1, release="c")
        outbox.put(1, release="d")
        outbox.settle()
        assert outbox.surplus(9) == []


def test_a_bookmark_is_kept_with_the_results_and_not_before_them(tmp_path: Path) -> None:
    with box(tmp_path) as outbox:
        bookmark = OrderedBookmark()
        outbox.follow("source", bookmark)
        places = bookmark.left((0, row) for row in range(9))
        for _ in range(3):
            outbox.put(1, place=next(places))
        outbox.settle()
        kept = OrderedBookmark(outbox.bookmark("source"))
        assert kept.at == (0, outbox.committed())
    with box(tmp_path) as outbox:
        assert OrderedBookmark(outbox.bookmark("source")).at == (0, 2)
        assert outbox.bookmark("another") is None


def test_a_second_process_is_told_so(tmp_path: Path) -> None:
    with box(tmp_path), pytest.raises(OutboxError, match="in use by another process"), box(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutboxError, match=r"file/box: not a directory$"), box(tmp_path / "file/box"):
        pass


def test_payloads_are_the_contract_s(tmp_path: Path) -> None:
    with box(tmp_path) as outbox:
        outbox.put(1)
        outbox.settle()
        (row,) = outbox.rows(-1, 9)
        result = contract.decode(row.payload)
        assert (result.seq, result.stream) == (0, outbox.stream)
