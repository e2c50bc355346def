"""Results from the moment they are made until somebody else has them: committed first, then sent.

One thread writes: whatever came since its last transaction goes into the next. A disk that is full
or slow makes nobody wait; what it cannot take stays in memory, within bounds.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Hashable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from edge_node import config
from edge_node.bookmark import Bookmark
from edge_node.metrics import Meter
from edge_node.outbox.change import Change, Held, Row
from edge_node.outbox.confirmation import Confirmation
from edge_node.outbox.disk import RETRY, Disk
from edge_node.outbox.files import OUTDATED, locked
from edge_node.outbox.tail import Tail
from protos import result as contract
from protos.result import Result

EARLY = 2**20
"""Bytes from which a transaction does not wait for its time."""
MEMORY = 2**24
"""Bytes that may wait in memory for a disk that takes nothing."""
TAIL = 2**21
"""Bytes of committed rows kept in memory."""

Found = TypeVar("Found")

log = logging.getLogger(__name__)


class Depth(NamedTuple):
    """What waits."""

    rows: int
    bytes: int
    age: float
    """Of the oldest, in seconds of the device's uptime; 0 if nothing is on the disk."""


class Outbox:
    """The queue on the disk; a context manager. ``OutboxError`` if its folder cannot be used."""

    def __init__(self, settings: config.Outbox, folder: Path, meter: Meter) -> None:
        self._settings, self._folder, self._meter = settings, folder, meter
        self._lock = Lock()
        self._pending, self._writing = Change(), Change()
        self._on_commit: Callable[[], None] = lambda: None
        self._wake, self._hurry, self._closing = Event(), Event(), Event()
        self._refused = False
        self.outdated = False
        """It is an old copy of itself: its numbers were given to other results. The next start mends it."""
        self._spoilt: set[int] = set()
        self._homeless: list[Held] = []

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.enter_context(locked(self._folder))
            self._disk = Disk(self._folder, self._settings, self._meter)
            self.confirmation = Confirmation(self._settings, self._folder)
            stack.callback(self._disk.close)
            self._resources = stack.pop_all()
        state = self._disk.state
        self.stream, self.session, self.next_seq = state.stream, state.session, state.next_seq
        """The number of this count of results; of this start of the node; the first of its results."""
        self._last = self._committed = self.next_seq - 1
        self._floor, self._stored = self._disk.floor, self._disk.depth
        self._tail = Tail(self.next_seq, TAIL)
        self._meter.queued.set_function(lambda: self.depth().rows)
        self._meter.queued_bytes.set_function(lambda: self.depth().bytes)
        self._meter.queued_age.set_function(lambda: self.depth().age)
        self._meter.held_inputs.set_function(lambda: self._disk.held)
        self._meter.held_bytes.set_function(lambda: self._disk.held_bytes)
        self._thread = Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit what is left; what the disk does not take even now is lost, and counted."""
        for event in (self._closing, self._wake, self._hurry):
            event.set()
        self._thread.join()
        if left := len(self._pending.rows):
            log.error("outbox %s: %d results could not be written, and are lost", self._folder, left)
            self._meter.dropped["disk"].inc(left)
        self._resources.close()

    def append(
        self, result: Result, place: Hashable = None, hold: Held | None = None, release: str | None = None
    ) -> None:
        """Take a result, in the order of ``seq``, from any thread, without waiting for the disk.

        In its transaction ``place`` is finished in the bookmark, ``hold`` is kept, and the input
        that is held under ``release`` is let go.
        """
        row = Row(result.seq, contract.encode(result))
        with self._lock:
            pending = self._pending
            pending.rows.append(row)
            pending.size += len(row.payload)
            self._last = row.seq
            if place is not None:
                pending.places[row.seq] = place
            if hold:
                pending.holds[row.seq] = hold
                pending.size += len(hold.payload)
            if release:
                pending.releases[row.seq] = release
            size = pending.size
            if size > MEMORY:
                self._shed()
        if size > EARLY:
            self._hurry.set()
        if not self._wake.is_set():
            self._wake.set()

    @property
    def full(self) -> bool:
        """With the policy ``reject``: no new sample is to be taken while this is so."""
        if self._settings.policy != "reject":
            return False
        rows, size, _ = self.depth()
        return rows >= self._settings.max_rows or size >= self._disk.limit or self._pending.size > MEMORY // 2

    def follow(self, key: str, bookmark: Bookmark) -> None:
        """Keep this bookmark, under the name of its source, with the results; said once, before the first."""
        self._disk.follow(key, bookmark)

    def bookmark(self, key: str) -> bytes | None:
        """What was kept of the bookmark of this source."""
        return self._disk.state.bookmarks.get(key)

    def on_commit(self, callback: Callable[[], None]) -> None:
        """Call this after each transaction, on the writing thread: there may be more to send."""
        self._on_commit = callback

    def committed(self) -> int:
        """The highest number of which a transaction has decided: what is still there of them can be read."""
        return self._committed

    def floor(self) -> int:
        """Nothing below is on the disk any more, or ever will be."""
        return self._floor

    def rows(self, after: int, limit: int, before: int | None = None) -> list[Row]:
        """The first committed rows with ``after < seq < before``, in order."""
        with self._lock:
            end = self._committed + 1 if before is None else min(before, self._committed + 1)
            if after + 1 >= self._tail.start:
                return self._tail.read(after, limit, end)
            under_way = self._pending, self._writing
            gone = {seq for change in under_way for seq in (*change.confirmed, *dict(change.dead))}
            after = max(after, *(change.confirmed_upto for change in under_way))
        found = self._read(lambda: self._disk.reader.rows(after, limit, end, self._spoil))
        return [row for row in found if row.seq not in gone]

    def confirm(self, upto: int) -> None:
        """Everything up to here has arrived: it leaves with the next transaction."""
        if upto > self._committed:
            log.error("confirmed up to %d, but only %d are known: not believed", upto, self._committed)
            return
        with self._lock:
            self._pending.confirmed_upto = max(self._pending.confirmed_upto, upto)
            self._tail.discard_below(upto + 1)
        self._wake.set()

    def outdate(self) -> None:
        """Others have seen numbers that were never sent from here: the next start begins another stream."""
        log.error("outbox %s: is an old copy of itself, and begins anew at the next start", self._folder)
        self.outdated = True
        with suppress(OSError):
            (self._folder / OUTDATED).touch()

    def confirm_each(self, seqs: Iterable[int]) -> None:
        """These have arrived."""
        with self._lock:
            start = len(self._pending.confirmed)
            self._pending.confirmed += seqs
            self._tail.discard(self._pending.confirmed[start:])
        if not self._wake.is_set():
            self._wake.set()

    def dead(self, seq: int, reason: str) -> None:
        """Give a row up: it is kept among the dead letters. Counting it is the sender's affair."""
        with self._lock:
            self._pending.dead.append((seq, reason))
            self._tail.discard([seq])
        self._wake.set()

    def depth(self) -> Depth:
        """What waits, on the disk and for it."""
        with self._lock:
            rows, size = self._stored
            for change in (self._pending, self._writing):
                rows += len(change.rows) - len(change.confirmed)
                size += change.size
        return Depth(max(0, rows), size, self._disk.age())

    def held(self, limit: int) -> list[Held]:
        """Inputs that wait for the cloud, least certain first."""
        return self._read(lambda: self._disk.reader.held(limit))

    def surplus(self, limit: int) -> list[Held]:
        """Held inputs that are too old, or too many (the surest then): for their owner to give up."""
        with self._lock:
            over, self._homeless = self._homeless, []
        excess = self._disk.held_bytes - self._settings.max_held_bytes
        born = self._disk.now() - self._settings.max_age
        return over + self._read(lambda: self._disk.reader.surplus(limit, excess, born))

    def _read(self, read: Callable[[], list[Found]]) -> list[Found]:
        """What is found on the disk; nothing if it cannot be read: then it is built anew."""
        try:
            return read()
        except sqlite3.Error as error:
            log.warning("outbox %s: %s", self._folder, error)
            self._disk.hurt = True
            self._wake.set()
            return []

    def _spoil(self, seq: int) -> None:
        """A row that is not what was written: it goes, and is counted."""
        with self._lock:
            if seq not in self._spoilt:
                self._spoilt.add(seq)
                self._pending.confirmed.append(seq)
                self._meter.dropped["corrupt"].inc()
        self._wake.set()

    def _shed(self) -> None:
        """Memory is full as well."""
        rows, homeless = self._pending.shed(self._settings.policy, MEMORY)
        self._meter.dropped["disk"].inc(rows)
        self._homeless += homeless

    def _run(self) -> None:
        due = 0.0
        while not self._closing.is_set():
            if self._wake.wait(self._disk.patience()):
                wait = self._closing if self._refused else self._hurry
                wait.wait(max(0.0, due - time.monotonic()))
            start = time.monotonic()
            self._write()
            due = start + (RETRY if self._refused else self._settings.linger)
        self._write()

    def _write(self) -> None:
        """One transaction."""
        self._wake.clear()
        self._hurry.clear()
        with self._lock:
            change, self._pending, last = self._pending, Change(), self._last
            self._writing.absorb(change)  # it is looked at while the change itself is taken apart
        rows, left = self._disk.write(change, last + 1)
        self._refused = bool(left)
        with self._lock:
            left.absorb(self._pending)
            self._writing, self._pending = Change(), left
            self._shed()
            self._tail.extend(rows)
            self._floor, self._stored = self._disk.floor, self._disk.depth
            self._tail.discard_below(self._floor)
            self._committed = self._disk.state.next_seq - 1
        if self._refused:
            self._wake.set()
        self._on_commit()
