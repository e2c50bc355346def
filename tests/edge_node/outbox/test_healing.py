"""Damage that shows while the outbox is in use, and what is kept of a damaged one."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from edge_node.outbox import Held
from edge_node.outbox import outbox as module
from edge_node.outbox.files import DATABASE, Witness
from edge_node.outbox.recovery import KEPT, QUARANTINE
from protos import result as contract
from tests.outboxes import Box, box


def spoil(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as database:
        database.execute(statement)


def overwrite(folder: Path) -> None:
    """All of the database, as if the medium had died; the log is left."""
    path = folder / DATABASE
    path.write_bytes(bytes(path.stat().st_size))


def test_a_spoilt_row_goes_alone_and_is_counted(tmp_path: Path) -> None:
    with box(tmp_path) as outbox:
        outbox.put(5)
    spoil(tmp_path, "UPDATE result SET payload = CAST(replace(payload, '0.9', '0.8') AS BLOB) WHERE seq = 2")
    with box(tmp_path) as outbox:
        assert outbox.all() == [0, 1, 3, 4]
        outbox.settle()
        assert (outbox.all(), outbox.dropped("corrupt"), outbox.depth().rows) == ([0, 1, 3, 4], 1, 4)


def test_a_database_that_dies_in_use_is_built_anew_under_the_same_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "TAIL", 1)  # reads come from the disk
    with box(tmp_path) as outbox:
        outbox.put(20)
        outbox.settle()
        outbox._disk._store.checkpoint()
        spoil(tmp_path, "PRAGMA writable_schema = ON")
        with (tmp_path / DATABASE).open("r+b") as file:
            file.seek(0)
            file.write(bytes(100))  # its header
        outbox._disk.hurt = True
        outbox.put(1)
        outbox.settle()
        assert outbox.all() == list(range(21))
        assert (outbox.recoveries(), outbox.dropped("corrupt")) == (1, 0)
    assert "found while in use" in caplog.text
    with box(tmp_path) as again:
        assert (again.stream, again.next_seq, len(again.all())) == (outbox.stream, 21, 21)


def test_a_lost_database_begins_another_stream_and_is_counted(tmp_path: Path) -> None:
    with box(tmp_path) as outbox:
        outbox.put(5)
    (tmp_path / DATABASE).unlink()
    with box(tmp_path) as again:
        assert again.stream > outbox.stream
        assert (again.next_seq, again.all()) == (0, [])
        assert (again.recoveries(), again.dropped("corrupt")) == (1, 5)


def test_an_older_copy_of_the_database_is_not_believed(tmp_path: Path) -> None:
    with box(tmp_path) as outbox:
        outbox.put(3)
    old = (tmp_path / DATABASE).read_bytes()
    with box(tmp_path) as outbox:
        outbox.put(3)
    (tmp_path / DATABASE).write_bytes(old)
    with box(tmp_path) as again:
        assert again.stream > outbox.stream
        results = [contract.decode(row.payload) for row in again.rows(-1, 9)]
        assert [(it.seq, it.stream) for it in results] == [(seq, again.stream) for seq in range(3)]
        assert again.dropped("corrupt") == 3


def test_without_a_witness_it_would_be(tmp_path: Path) -> None:
    with box(tmp_path) as outbox:
        outbox.put(3)
    old = (tmp_path / DATABASE).read_bytes()
    with box(tmp_path) as outbox:
        outbox.put(3)
    (tmp_path / DATABASE).write_bytes(old)
    (tmp_path / "witness").unlink()
    with box(tmp_path) as again:
        assert (again.stream, again.next_seq) == (outbox.stream, 3)  # numbers that were given already


def test_what_was_confirmed_does_not_come_back_from_the_dead(tmp_path: Path) -> None:
    with box(tmp_path) as outbox:
        outbox.put(20)
        outbox.settle()
        outbox.confirm(9)
        outbox.settle()
        ids = {contract.decode(row.payload).id for row in outbox.rows(-1, 99)}
    with (tmp_path / DATABASE).open("r+b") as file:
        file.write(bytes(16))
    with box(tmp_path) as again:
        assert {contract.decode(row.payload).id for row in again.rows(-1, 99)} == ids


def test_letters_and_inputs_and_bookmarks_are_salvaged_as_well(tmp_path: Path) -> None:
    with box(tmp_path) as outbox:
        outbox.put(3, hold=Held("a", 0.5, b"x" * 20_000))
        outbox.settle()
        outbox.dead(1, "refused")
    with (tmp_path / DATABASE).open("r+b") as file:
        file.write(bytes(16))
    with box(tmp_path) as again:
        assert (again.recoveries(), len(again.all())) == (1, 2)
        assert again.held(9) == [Held("a", 0.5, b"x" * 20_000)]
    with closing(sqlite3.connect(tmp_path / DATABASE)) as database:
        assert database.execute("SELECT reason FROM dead").fetchall() == [("refused",)]


def test_a_bounded_number_of_damaged_databases_is_kept(tmp_path: Path) -> None:
    for _ in range(KEPT + 2):
        with box(tmp_path) as outbox:
            outbox.put(1)
        overwrite(tmp_path)
    with box(tmp_path):
        assert sorted(path.name for path in (tmp_path / QUARANTINE).iterdir()) == ["3", "4"]


@pytest.mark.parametrize("moment", ["built", "moved"])
def test_a_crash_while_building_anew_is_no_matter(tmp_path: Path, moment: str) -> None:
    with box(tmp_path) as outbox:
        outbox.put(5)
    (tmp_path / DATABASE).rename(tmp_path / "built.db")  # as the last steps of it leave the folder
    if moment == "built":
        (tmp_path / DATABASE).write_bytes(b"damaged")
    with Box(tmp_path) as again:
        assert (again.all(), again.stream) == ([0, 1, 2, 3, 4], outbox.stream)
        assert Witness(tmp_path).last() is not None
