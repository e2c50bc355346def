"""The store and what keeps it usable when the disk is full, or gives back what nobody wrote."""

import logging
import sqlite3
import time
from collections.abc import Collection, Hashable
from contextlib import suppress
from pathlib import Path

from edge_node import config
from edge_node.bookmark import Bookmark
from edge_node.metrics import Meter
from edge_node.outbox import recovery, salvage
from edge_node.outbox.change import Change, Row
from edge_node.outbox.clock import Lifetime
from edge_node.outbox.database import passing
from edge_node.outbox.files import DATABASE, Ballast, Testimony, Witness
from edge_node.outbox.format import State
from edge_node.outbox.reader import Reader
from edge_node.outbox.store import Bounds

RETRY = 1.0
"""Seconds between attempts at a disk that takes nothing."""
WHOLE = 2**20
"""Bytes of results in one transaction: with those of the log they bound what the ballast must cover."""
PART = 2**16
"""The same when the disk is full."""
BOOKMARKS = 16
"""Sources of which the place is remembered."""

log = logging.getLogger(__name__)


class Disk:
    """Opened by one thread, then used by the one that writes; ``reader`` by any."""

    def __init__(self, folder: Path, settings: config.Outbox, meter: Meter) -> None:
        self._folder, self._meter = folder, meter
        self._bounds = Bounds(settings.policy, settings.max_rows, settings.max_bytes, settings.max_age)
        self._ballast, self._witness = Ballast(folder, settings.ballast), Witness(folder)
        self.tight: int | None = None
        """Bytes that may wait while the disk is full."""
        self._store = recovery.open_store(folder, self._witness.last(), self._ballast, meter)
        self._clock = Lifetime(self._store.state.moment)
        self._ballast.restore()
        self._restore_at = time.monotonic()
        self._witness.testify(self._testimony())
        self.reader = Reader(folder / DATABASE)
        self._said = ""
        self.hurt = False
        """A row or a page could not be read: build anew before the next transaction."""
        self._followed: tuple[str, Bookmark] | None = None

    @property
    def state(self) -> State:
        return self._store.state

    @property
    def depth(self) -> tuple[int, int]:
        """Rows and bytes that wait."""
        return self._store.rows, self._store.bytes

    @property
    def held(self) -> int:
        """Number of held inputs."""
        return self._store.held

    @property
    def held_bytes(self) -> int:
        return self._store.held_bytes

    @property
    def floor(self) -> int:
        """The lowest number that waits, or the next."""
        return self._store.oldest[0] if self._store.oldest else self.state.next_seq

    @property
    def limit(self) -> int:
        """Bytes that may wait."""
        return self._bounds.max_bytes if self.tight is None else min(self.tight, self._bounds.max_bytes)

    def now(self) -> float:
        """Seconds of the device's life."""
        return self._clock.now().seconds

    def age(self) -> float:
        """Of the oldest that waits, in seconds; 0 if nothing does."""
        oldest = self._store.oldest
        return max(0.0, self.now() - oldest[1]) if oldest else 0.0

    def patience(self) -> float | None:
        """Seconds until there is something to do even if nothing happens."""
        if self.tight is not None or self.hurt:
            return RETRY
        return self._bounds.max_age - self.age() if self._store.oldest else None

    def follow(self, key: str, bookmark: Bookmark) -> None:
        """Keep this bookmark with the results, under the name of its source."""
        self._followed = key, bookmark

    def write(self, change: Change, next_seq: int) -> tuple[list[Row], Change]:
        """The rows that came in, and what the disk does not take now.

        Without a change and without a row that is too old there is no transaction.
        """
        rows: list[Row] = []
        for most in (WHOLE, PART):
            try:
                if self.hurt:
                    self._heal()
                self._restore()
                while change or self.age() > self._bounds.max_age:
                    part = change.take(most)
                    try:
                        upto = part.rows[-1].seq + 1 if change else next_seq
                        rows += self._commit(part, upto)
                    except BaseException:
                        part.absorb(change)
                        change = part
                        raise
                    if self.tight is not None:
                        self._store.checkpoint()
            except sqlite3.Error as error:
                self._remedy(error)
            except OSError as error:
                self._say(str(error))
                break
            else:
                break
        return rows, change

    def close(self) -> None:
        self.reader.close()
        self._store.close()
        self._witness.close()

    def _commit(self, change: Change, next_seq: int) -> list[Row]:
        last, places = self.state, change.places.values()
        state = State(
            stream=last.stream,
            session=last.session,
            next_seq=max(next_seq, last.next_seq),
            commits=last.commits + 1,
            moment=self._clock.now(),
            bookmarks=self._bookmarks(places),
        )
        rows, dropped = self._store.commit(change, state, self._bounds._replace(max_bytes=self.limit))
        self._witness.testify(self._testimony())
        if self._followed:
            self._followed[1].finish(places)
        if self.tight is not None:
            dropped["disk"] = dropped.pop("bytes", 0)
        for reason, count in dropped.items():
            self._meter.dropped[reason].inc(count)
        if self.tight is None:
            with suppress(sqlite3.OperationalError):
                self._store.give_back()
        return rows

    def _bookmarks(self, places: Collection[Hashable]) -> dict[str, bytes]:
        """All of them; sources come and go, and enough of them are remembered."""
        if self._followed is None:
            return self.state.bookmarks
        key, bookmark = self._followed
        others = {name: it for name, it in self.state.bookmarks.items() if name != key}
        return dict([*others.items(), (key, bookmark.dump(places))][-BOOKMARKS:])

    def _testimony(self) -> Testimony:
        state = self.state
        return Testimony(state.session, state.commits, state.next_seq, self.floor, self._store.rows)

    def _remedy(self, error: sqlite3.Error) -> None:
        """Whatever helps: the next attempt shows whether it did."""
        if not passing(error):
            self.hurt = True
            return
        self._say(str(error))
        if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            return
        if self.tight is None:
            self._ballast.release()
            self.tight = max(self._store.bytes, self._ballast.size // 4)
        with suppress(sqlite3.Error):
            self._store.checkpoint()

    def _restore(self) -> None:
        """Once there is room for the ballast again, the disk is not full any more."""
        if self.tight is None or time.monotonic() < self._restore_at:
            return
        self._restore_at = time.monotonic() + RETRY
        if self._ballast.restore():
            self._say("has room again")
            self.tight = None

    def _heal(self) -> None:
        state, now = self.state, self._testimony()
        wal = salvage.read_wal(self._folder / DATABASE)
        self.reader.close()
        self._store.close()
        self._store = recovery.heal(self._folder, wal, state, now, self._meter)
        self.reader = Reader(self._folder / DATABASE)
        self.hurt = False

    def _say(self, what: str) -> None:
        """Log a change of state once."""
        if what != self._said:
            log.warning("outbox %s: %s", self._folder, what)
        self._said = what
