"""Opening the outbox whatever happened to it: as it is, or built anew of what can be read."""

import logging
import shutil
import sqlite3
import time
from pathlib import Path

import msgspec

from edge_node.errors import OutboxError
from edge_node.metrics import Meter
from edge_node.outbox import salvage
from edge_node.outbox.clock import Lifetime
from edge_node.outbox.database import Damaged, passing
from edge_node.outbox.files import BESIDE, DATABASE, OUTDATED, Ballast, Testimony, sync
from edge_node.outbox.format import State
from edge_node.outbox.salvage import Found
from edge_node.outbox.store import Store

QUARANTINE = "damaged"
KEPT = 2
"""Damaged databases kept for whoever wants to know."""
_BUILDING, _BUILT = "building.db", "built.db"

Rows = list[tuple[int, float, bytes]]
"""Number, birth and payload."""

log = logging.getLogger(__name__)


def open_store(folder: Path, testimony: Testimony | None, ballast: Ballast, meter: Meter) -> Store:
    """The store, in a new session. ``OutboxError`` if the disk does not even let it be read."""
    try:
        try:
            return _begin(folder, testimony, meter)
        except sqlite3.OperationalError:
            ballast.release()  # it may be full
            return _begin(folder, testimony, meter)
    except (OSError, sqlite3.OperationalError) as error:
        raise OutboxError(folder, f"cannot be opened: {error}") from error


def heal(folder: Path, wal: bytes, state: State, now: Testimony, meter: Meter) -> Store:
    """The store anew, in the same session: nothing that was given a number may change it now."""
    found = salvage.read(folder / DATABASE, wal)
    rows = [(seq, *row) for seq, row in sorted(found.rows.items()) if seq >= now.floor]
    _rebuild(folder, state, rows, found)
    _report(folder, "found while in use", len(rows), max(0, now.rows - len(rows)), meter)
    return Store(folder / DATABASE)


def renumber(payload: bytes, stream: int, seq: int) -> bytes:
    """The same result at another place in the count."""
    return msgspec.json.encode({**msgspec.json.decode(payload), "stream": stream, "seq": seq})


def _begin(folder: Path, testimony: Testimony | None, meter: Meter) -> Store:
    _move_in(folder)
    store = _sound(folder, testimony, meter)
    try:
        _new_session(store, testimony)
    except BaseException:
        store.close()
        raise
    return store


def _new_session(store: Store, testimony: Testimony | None) -> None:
    """Numbered above all before it; letters that are to be sent again are the first of its results."""
    last, letters = store.state, store.retries()
    session = _session(last, testimony)
    state = State(
        stream=last.stream or session,
        session=session,
        next_seq=last.next_seq + len(letters),
        commits=last.commits + 1,
        moment=Lifetime(last.moment).now(),
        bookmarks=last.bookmarks,
    )
    with store.transaction(state):
        rows = enumerate(letters, start=last.next_seq)
        store.put_rows((seq, born, renumber(payload, state.stream, seq)) for seq, (born, payload) in rows)
        store.forget_retries()


def _session(last: State, testimony: Testimony | None) -> int:
    """Above every one before, and of no other node that has the same name: a wrong clock repeats none."""
    before = max(last.session, testimony.session if testimony else 0)
    return max(before + 1, time.time_ns() // 1000)


def _sound(folder: Path, testimony: Testimony | None, meter: Meter) -> Store:
    """The store as it is if nothing speaks against it, else anew."""
    wal = salvage.read_wal(folder / DATABASE)
    try:
        store = Store(folder / DATABASE)
        missing = testimony.commits - store.state.commits if testimony else 0
        outdated = (folder / OUTDATED).exists()
        if missing <= 0 and not outdated:
            return store
        store.close()
        problem = "it is an old copy" if outdated else f"its last {missing} transactions are gone"
    except (sqlite3.Error, Damaged) as error:
        if passing(error):
            raise
        problem = str(error)
    return _renew(folder, wal, testimony, problem, meter)


def _renew(folder: Path, wal: bytes, testimony: Testimony | None, problem: str, meter: Meter) -> Store:
    """A new stream of what can be read: numbers may have been given that this database no longer knows."""
    found = salvage.read(folder / DATABASE, wal)
    last = found.state or State()
    stream = _session(last, testimony)
    floor = testimony.floor if testimony else 0
    kept = [row for seq, row in sorted(found.rows.items()) if seq >= floor]
    rows = [(seq, born, renumber(payload, stream, seq)) for seq, (born, payload) in enumerate(kept)]
    commits = max(last.commits, testimony.commits if testimony else 0)
    state = State(stream, stream, len(rows), commits, last.moment, last.bookmarks)
    _rebuild(folder, state, rows, found)
    (folder / OUTDATED).unlink(missing_ok=True)
    _report(folder, problem, len(rows), max(0, testimony.rows - len(rows)) if testimony else 0, meter)
    return Store(folder / DATABASE)


def _report(folder: Path, problem: str, saved: int, lost: int, meter: Meter) -> None:
    meter.recoveries.inc()
    meter.dropped["corrupt"].inc(lost)
    log.error(
        "outbox %s was damaged (%s): %d results saved, %d lost; what it was is in %s",
        *(folder, problem.replace("\n", " "), saved, lost, folder / QUARANTINE),
    )


def _rebuild(folder: Path, state: State, rows: Rows, found: Found) -> None:
    """A sound database in the place of the damaged one, which is put aside; or, after a crash, either."""
    for suffix in BESIDE:
        (folder / (_BUILDING + suffix)).unlink(missing_ok=True)
    store = Store(folder / _BUILDING)
    try:
        with store.transaction(state):
            store.put_rows(rows)
            for (born, payload), reason in found.dead.items():
                store.put_dead(born, payload, reason)
            for born, held in found.held.values():
                store.put_held(born, held)
    finally:
        store.close()
    (folder / _BUILDING).replace(folder / _BUILT)
    _move_in(folder)


def _move_in(folder: Path) -> None:
    """If a database has been built, put aside the one that it replaces, and use it."""
    if not (folder / _BUILT).exists():
        return
    aside = sorted((folder / QUARANTINE).glob("*"), key=lambda path: int(path.name))
    into = folder / QUARANTINE / str(int(aside[-1].name) + 1 if aside else 1)
    into.mkdir(parents=True)
    for suffix in BESIDE:
        if (old := folder / (DATABASE + suffix)).exists():
            old.replace(into / old.name)
    (folder / _BUILT).replace(folder / DATABASE)
    sync(folder)
    for oldest in [*aside, into][:-KEPT]:
        shutil.rmtree(oldest)
