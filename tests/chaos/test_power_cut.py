"""Power cuts: whatever of the last writes reached the disk, the outbox holds what it had committed."""

import sqlite3
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from edge_node.outbox.change import Change, Held, Row
from edge_node.outbox.database import Connection, Damaged
from edge_node.outbox.files import BESIDE, DATABASE
from edge_node.outbox.format import State, seal
from edge_node.outbox.store import Bounds, Store
from tests.chaos.power import Disk, Event, PowerConnection, Recorder

CUTS = 10_000
"""At least; one after each write, sync and deletion."""
WIDE = Bounds("drop_oldest", 10**9, 10**9, 1e9)
TIGHT = Bounds("drop_oldest", 40, 10**9, 1e9)
SIZES = (60, 600, 600, 600, 9000)
"""Bytes of a payload: most are alike, and some need pages of their own."""


@dataclass
class Recording:
    """A run of the outbox's own code: what it did to the disk, and what it promised when."""

    events: list[Event]
    promised: dict[int, int] = field(default_factory=dict)
    """After so many events, so many transactions were said to be committed."""
    contents: dict[int, dict[int, bytes]] = field(default_factory=lambda: {0: {}})
    """Rows after each transaction."""


def test_a_power_cut_takes_back_nothing_that_was_committed(tmp_path: Path) -> None:
    fates = sweep(tmp_path, record(tmp_path, 650, "FULL"))
    print(dict(fates))  # noqa: T201 - figures for whoever asks with -s
    assert fates.total() >= CUTS
    assert fates.keys() == {"whole"}


def test_without_full_synchronisation_it_would(tmp_path: Path) -> None:
    fates = sweep(tmp_path, record(tmp_path, 100, "NORMAL"))
    assert fates["lost"] > 50
    assert fates["damaged"] == 0  # that is what the log is for


def record(folder: Path, transactions: int, synchronous: str) -> Recording:
    """Results come in, are confirmed, die, are dropped, transaction after transaction."""
    recorder, dice = Recorder(), Random(1)
    recording = Recording(recorder.events)
    store = Store(folder / DATABASE, lambda path: PowerConnection(path, synchronous))
    recording.promised[len(recorder.events)] = 0
    waiting: dict[int, bytes] = {}
    next_seq = 0
    for number in range(1, transactions + 1):
        change = _change(number, next_seq, sorted(waiting), dice)
        next_seq += len(change.rows)
        store.commit(change, State(1, 1, next_seq, number), TIGHT if number % 100 > 90 else WIDE)
        store.give_back()
        recording.promised[len(recorder.events)] = number
        waiting = recording.contents[number] = rows(store)
    store.close()
    recorder.unregister()
    return recording


def _change(number: int, next_seq: int, waiting: list[int], dice: Random) -> Change:
    change = Change(
        rows=deque(Row(next_seq + i, dice.randbytes(dice.choice(SIZES))) for i in range(dice.randint(1, 6)))
    )
    if waiting and number % 50 > 25:  # the broker is there every other while
        change.confirmed_upto = dice.choice(waiting)
        change.confirmed = dice.sample(waiting, 1)
    if waiting and number % 40 == 0:
        change.dead = [(waiting[-1], "refused")]
    if number % 10 == 0:
        change.holds[next_seq] = Held(f"input-{number}", 0.5, dice.randbytes(5000))
    if number % 10 == 5:
        change.releases = {next_seq: f"input-{number - 5}"}
    return change


def rows(store: Store) -> dict[int, bytes]:
    """What waits; every row as it was sealed."""
    found = store._db.execute("SELECT seq, born, seal, payload FROM result").fetchall()
    assert all(seal(seq, born, payload) == sealed for seq, born, sealed, payload in found)
    return {seq: payload for seq, _, _, payload in found}


class Hasty(sqlite3.Connection):
    """Waits for no disk: what is found is looked at once, and thrown away."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        return super().execute(sql.replace("= FULL", "= OFF"), parameters)


def hasty(path: Path) -> Connection:
    return sqlite3.connect(path, isolation_level=None, factory=Hasty)


def sweep(folder: Path, recording: Recording) -> Counter[str]:
    """What becomes of the outbox at a cut after each of its events."""
    disk, dice, promised = Disk(), Random(2), 0
    fates: Counter[str] = Counter()
    for count, event in enumerate(recording.events, start=1):
        disk.take(event)
        promised = recording.promised.get(count, promised)
        fates[_fate(folder, disk.after_a_cut(dice), promised, recording)] += 1
    return fates


def _fate(folder: Path, files: dict[str, bytes], promised: int, recording: Recording) -> str:
    for suffix in BESIDE:
        (folder / (DATABASE + suffix)).unlink(missing_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    try:
        store = Store(folder / DATABASE, hasty)
    except (sqlite3.Error, Damaged) as error:
        return f"damaged: {error}"
    try:
        if store.state.commits < promised:
            return "lost"
        return "whole" if rows(store) == recording.contents[store.state.commits] else "mixed"
    finally:
        store.close()
