"""Each result once, and how far its stream has come, in one transaction: with both databases."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import DBAPIError, OperationalError

from cloud_server.errors import DatabaseError
from cloud_server.fleet import database as databases
from cloud_server.fleet.arrival import Arrival, Stream, read
from cloud_server.fleet.store import PRUNED, Store, Written
from tests.cloud_server.fleet import rows
from tests.cloud_server.fleet.rows import arrival, ask, ids, opened

STREAM = Stream("lab", "a", 7)
SHARED = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
MESSAGES = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 15)), min_size=1, max_size=25)


def upto(store: Store, stream: Stream = STREAM) -> int:
    return dict(store.committed([stream]))[stream]


def test_a_result_and_its_columns(database: str) -> None:
    with opened(database) as store:
        written = store.write([arrival(0)])
    assert (written.stored, written.duplicates, written.heard, written.changed) == (1, 0, (STREAM,), True)
    columns = "site, node, stream, seq, id, state, route, reason, label, confidence, latency_ms, payload"
    (row,) = ask(database, f"SELECT {columns} FROM results")
    expected = ("lab", "a", 7, 0, "lab.a.7.0", "final", "edge", "confident", "red", 0.9, 2.0)
    assert row == (*expected, rows.payload(0).decode())


def test_the_same_again_is_a_duplicate_and_its_sender_is_told(database: str) -> None:
    with opened(database) as store:
        store.write([arrival(0), arrival(1)])
        written = store.write([arrival(1)])
        assert (written.stored, written.duplicates, written.heard, written.changed) == (
            0,
            1,
            (STREAM,),
            False,
        )
        assert upto(store) == 1


def test_beyond_a_gap_nobody_has_to_be_told(database: str) -> None:
    with opened(database) as store:
        store.write([arrival(0)])
        assert store.write([arrival(2)]).heard == ()
        assert store.write([arrival(1)]).heard == (STREAM,)
        assert upto(store) == 2


def test_provisional_and_final_are_two(database: str) -> None:
    with opened(database) as store:
        written = store.write([arrival(1, id="one"), arrival(0, id="one", state="provisional")])
        assert (written.stored, upto(store)) == (2, 1)
    assert len(ids(database)) == 2


def test_a_new_stream_begins_at_nothing_and_keeps_the_ids_apart(database: str) -> None:
    with opened(database) as store:
        store.write([arrival(0), arrival(1)])
        written = store.write([arrival(0, stream=9)])
        assert (written.stored, upto(store, Stream("lab", "a", 9))) == (1, 0)
        again = store.write([arrival(1, stream=9, id="lab.a.7.0")])
        assert (again.stored, again.duplicates, upto(store, Stream("lab", "a", 9))) == (0, 1, 1)


def test_a_floor_closes_a_gap_and_is_written_down(database: str) -> None:
    with opened(database) as store:
        store.write([arrival(0), arrival(5, floor=5), arrival(9, floor=8)])
        assert upto(store) == 7
        assert [gap[:5] for gap in store.gaps()] == [("lab", "a", 7, 1, 4), ("lab", "a", 7, 6, 7)]
        assert store.survey() == (1, 6)


def test_what_was_given_up_and_comes_all_the_same_leaves_its_gap(database: str) -> None:
    with opened(database) as store:
        store.write([arrival(9, floor=9)])
        written = store.write([arrival(4), arrival(0)])
        assert (written.stored, written.changed, upto(store)) == (2, True, 9)
        assert [gap[3:5] for gap in store.gaps()] == [(1, 3), (5, 8)]
        store.write([arrival(4)])
        assert store.survey().missing == 7


def test_a_refused_message_holds_up_nothing_and_is_kept_once(database: str) -> None:
    bad = read(["lab", "a"], rows.payload(1).replace(b"red", b"\xff"))
    with opened(database) as store:
        written = store.write([arrival(0), bad, arrival(2)])
        assert (written.stored, written.duplicates, upto(store)) == (2, 0, 2)
        store.write([bad])
    ((payload, reason),) = ask(database, "SELECT payload, reason FROM refused")
    assert (bytes(payload), reason) == (bad.row["payload"], "malformed")


@SHARED
@given(messages=MESSAGES, size=st.integers(1, 5))
def test_whatever_comes_in_whatever_order(database: str, messages: list[tuple[int, int]], size: int) -> None:
    """Against sets: every number that came is stored once, and below the highest floor nothing is open."""
    node = f"n{uuid4().hex}"
    arrivals = [arrival(seq, floor, node=node) for seq, floor in messages]
    with opened(database) as store:
        written = [store.write(batch) for batch in batched(arrivals, size)]
        come = {it.seq for it in arrivals}
        given_up = set(range(max(it.floor for it in arrivals))) - come
        open_at = next(number for number in range(99) if number not in come | given_up)
        assert upto(store, Stream("lab", node, 7)) == open_at - 1
        missing = {it for gap in store.gaps() if gap.node == node for it in range(gap.first, gap.last + 1)}
        assert missing == given_up
    assert sum(it.stored for it in written) == len(come)
    assert sum(it.duplicates for it in written) == len(arrivals) - len(come)
    stored = ask(database, f"SELECT seq FROM results WHERE node = '{node}'")
    assert sorted(seq for (seq,) in stored) == sorted(come)


def test_two_writers_at_once(database: str) -> None:
    """Every message to one, the other or both, in any order: nobody waits for ever, nothing comes twice."""
    count, nodes = 120, ("a", "b", "c")
    everything = [arrival(seq, node=node) for seq in range(count) for node in nodes]
    shares = [everything[0::2] + everything[10:60], everything[1::2][::-1] + everything[30:90]]

    def write(share: list[Arrival]) -> int:
        with opened(database) as store:
            return sum(_patiently(store, batch).stored for batch in batched(share, 7))

    with opened(database) as store:
        store.prepare()
        with ThreadPoolExecutor(2) as pool:
            stored = sum(pool.map(write, shares))
        assert stored == len(everything)
        assert [upto(store, Stream("lab", node, 7)) for node in nodes] == [count - 1] * 3


def batched(arrivals: Sequence[Arrival], size: int) -> Iterator[Sequence[Arrival]]:
    return (arrivals[at : at + size] for at in range(0, len(arrivals), size))


def _patiently(store: Store, batch: Sequence[Arrival]) -> Written:
    """As the sink does: a deadlock that the database has resolved is tried again."""
    while True:
        try:
            return store.write(batch)
        except OperationalError:
            time.sleep(0.01)


def test_nothing_is_written_when_the_last_thing_fails(database: str) -> None:
    with opened(database) as store:
        store.prepare()
        with rows.looking(database) as connection:
            connection.exec_driver_sql("DROP TABLE gaps")
            connection.commit()
        with pytest.raises(DBAPIError):
            store.write([arrival(3, floor=3)])
        assert dict(store.committed([STREAM])) == {}
    assert ids(database) == []


def test_old_rows_go_a_few_at_a_time(database: str) -> None:
    with opened(database) as store:
        store.write([arrival(seq) for seq in range(PRUNED + 10)])
        store.write([arrival(PRUNED + 20, floor=PRUNED + 20)])
        assert store.prune(time.time() - 60) == 0
        assert [store.prune(time.time() + 1) for _ in range(3)] == [PRUNED, 11, 0]
        assert (ids(database), store.gaps()) == ([], [])
        assert upto(store) == PRUNED + 20, "what is deleted stays confirmed"


def test_sqlite_survives_a_power_cut(tmp_path: Path) -> None:
    """As far as the settings go; `tests/chaos` cuts the power."""
    engine = databases.connect(rows.settings(f"sqlite:///{tmp_path}/fleet.sqlite"))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    engine.dispose()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("fleet.sqlite", "no URL of a database: sqlite:///FILE or postgresql://USER@HOST/NAME"),
        ("mysql://root@db/fleet", "mysql is neither sqlite nor postgresql"),
        ("postgresql://me:secret@db/fleet", "the password belongs into a file: database_password_file"),
    ],
)
def test_a_url_that_is_no_good(url: str, problem: str) -> None:
    with pytest.raises(DatabaseError) as caught:
        Store.open(rows.settings(url))
    assert str(caught.value) == f"[fleet] database: {problem}"
