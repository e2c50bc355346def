"""Where a source that can be replayed goes on after a restart: kept in the transaction of the results.

Results of deferred samples come late, so places are finished out of order. Neither a low-water mark
alone (it would repeat) nor the highest place (it would skip) will do: it takes both, and what is between.
"""

import logging
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from itertools import takewhile
from operator import itemgetter
from threading import Lock
from typing import Any, Protocol, runtime_checkable

import msgspec

log = logging.getLogger(__name__)

Place = tuple[int, Any]
"""Round through the source, and what orders its samples: a row's index, a file's name."""


class Bookmark(Protocol):
    """A place in a source, as the outbox keeps it; called on its writing thread."""

    def dump(self, places: Collection[Any] = ()) -> bytes:
        """What a transaction keeps that decides of the samples at these places."""

    def finish(self, places: Collection[Any]) -> None:
        """It is on the disk. Said twice it does no harm."""


@runtime_checkable
class Replayable(Protocol):
    """A source that can go on where it was."""

    def key(self) -> str:
        """Names what is read: a bookmark is for that and nothing else."""

    def resume(self, saved: bytes | None) -> Bookmark:
        """Said once, before the first sample: go on after ``saved``; every sample then says its place."""


class _Saved(msgspec.Struct):
    at: Place | None = None
    beyond: list[Place] = []


class OrderedBookmark:
    """The place in a source that gives the same samples in the same ascending order every time."""

    def __init__(self, saved: bytes | None = None) -> None:
        last = _load(saved)
        self.at = last.at
        """All up to here is finished."""
        self.round = last.at[0] if last.at else 0
        self._beyond = set(last.beyond)
        self._finished: OrderedDict[Place, bool] = OrderedDict()  # every place given after ``at``, in order
        self._lock = Lock()

    def left(self, places: Iterable[Place]) -> Iterator[Place]:
        """Of all places, in their order, those that are not finished; each is under way once it is given."""
        given = False
        for place in places:
            if self.at is not None and place <= self.at:
                continue
            with self._lock:
                again = place in self._beyond
                self._finished[place] = again
                self._beyond.discard(place)
                self._advance()
            if not again:
                given = True
                yield place
        if not given:
            log.warning(
                "every sample of the source was answered before: edge-node outbox rewind begins again"
            )

    def dump(self, places: Collection[Place] = ()) -> bytes:
        """As ``Bookmark``."""
        decided = set(places)
        with self._lock:
            done = [(place, finished or place in decided) for place, finished in self._finished.items()]
            behind = list(takewhile(itemgetter(1), done))
            at = behind[-1][0] if behind else self.at
            beyond = [place for place, finished in done[len(behind) :] if finished]
            return msgspec.msgpack.encode({"at": at, "beyond": [*self._beyond, *beyond]})

    def finish(self, places: Collection[Place]) -> None:
        """As ``Bookmark``."""
        with self._lock:
            self._finished.update((place, True) for place in places if place in self._finished)
            self._advance()

    def _advance(self) -> None:
        while self._finished:
            place, finished = next(iter(self._finished.items()))
            if not finished:
                return
            del self._finished[place]
            self.at = place


def _load(saved: bytes | None) -> _Saved:
    try:
        return msgspec.msgpack.decode(saved, type=_Saved) if saved else _Saved()
    except msgspec.DecodeError:
        log.warning("the bookmark of the source is none: it is read from its beginning")
        return _Saved()
