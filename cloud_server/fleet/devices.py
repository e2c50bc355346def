"""Every device of the fleet: whether it lives, what it said last. A table with bounds, in memory.

A device is there with its birth message or first snapshot, and offline with its last will; a will
speaks for its own session alone. Without snapshots for three intervals it is silent, and its
series are gone. Any thread may read; the bridge's writes.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from threading import Lock
from typing import Literal, NamedTuple

import msgspec

from cloud_server.fleet import exposition, figures
from cloud_server.fleet.arrival import Refused
from cloud_server.fleet.exposition import Block
from cloud_server.fleet.figures import Figures
from protos import snapshot as contract
from protos.snapshot import Family, Snapshot
from protos.status import Gate, Model, Status, Versions

MISSED = 3
"""Intervals without a snapshot after which a device is silent."""
FORGET = 7 * 86400.0
"""Seconds after which a device of which nothing is heard leaves the table."""
_DAY = 86400.0

State = Literal["online", "silent", "offline"]


class Key(NamedTuple):
    """Which device."""

    site: str
    node: str


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A device as it is now."""

    site: str
    node: str
    state: State
    """``silent``: it should have sent snapshots, and its end is not known."""
    session: int
    restarts: int
    """Sessions that began while this server watched."""
    last_seen: float
    """Seconds since 1970 by this server's clock: when something last came from it."""
    interval: float | None
    """Seconds between its snapshots; None if it has sent none."""
    uptime: float | None
    """Seconds, at the last snapshot."""
    series: int
    """On ``/metrics`` now."""
    refused_series: int
    """Of the last snapshot, for want of room."""
    versions: Versions | None
    model: Model | None
    gate: Gate | None
    figures: Figures | None
    """Of the last snapshot, while the device is not silent."""


@dataclass(slots=True)
class _Entry:
    """What is known of a device; times by the monotonic clock."""

    heard: float
    status: Status | None = None
    online: bool = False
    session: int = -1
    sequence: int = -1
    restarts: int = 0
    reported: float = -inf
    interval: float | None = None
    uptime: float | None = None
    figures: Figures | None = None
    blocks: list[Block] = field(default_factory=list)
    series: int = 0
    refused: int = 0
    known: set[int] = field(default_factory=set)
    lines: int = 0
    """Of the known series."""
    known_since: float = -inf

    def fresh(self, now: float) -> bool:
        """Whether its last snapshot still holds."""
        return self.interval is not None and now - self.reported <= MISSED * self.interval

    def begin(self, session: int) -> None:
        """It is in this session now."""
        if session != self.session:
            self.restarts += self.session >= 0
            self.session, self.sequence = session, -1

    def admit(self, family: Family, most: int) -> bool:
        """Whether there is room for its series; they are known from then on."""
        ids = {hash((family.name, family.labels, series.labels)) for series in family.series} - self.known
        lines = len(ids) * contract.lines(family) // max(1, len(family.series))
        if self.lines + lines > most:
            return False
        self.known |= ids
        self.lines += lines
        return True

    def state(self, now: float) -> State:
        if not self.online:
            return "offline"
        return "online" if self.interval is None or self.fresh(now) else "silent"


class Devices:
    """The table. ``clock`` gives monotonic seconds; ``forget`` is called with each device that leaves."""

    def __init__(
        self,
        max_nodes: int,
        max_series: int,
        clock: Callable[[], float] = time.monotonic,
        forget: Callable[[Key], None] = lambda _: None,
    ) -> None:
        self._max_nodes, self._max_series = max_nodes, max_series
        self._clock, self._forget = clock, forget
        self._entries: dict[Key, _Entry] = {}
        self._lock = Lock()

    def table(self) -> list[Device]:
        """Every device, by site and node."""
        with self._lock:
            now = self._clock()
            return [_device(key, entry, now) for key, entry in sorted(self._entries.items())]

    def get(self, key: Key) -> Device | None:
        """One device, if it is known."""
        with self._lock:
            entry = self._entries.get(key)
            return _device(key, entry, self._clock()) if entry else None

    def blocks(self) -> list[Block]:
        """What ``/metrics`` shows of the devices, as of now."""
        with self._lock:
            now = self._clock()
            blocks: list[Block] = []
            for key, entry in self._entries.items():
                blocks += exposition.liveness(
                    *key, up=entry.state(now) == "online", seen=_wall(entry.heard, now)
                )
                blocks += entry.blocks if entry.fresh(now) else ()
        return blocks

    def counts(self) -> dict[State, int]:
        """Devices by state."""
        counts: dict[State, int] = {"online": 0, "silent": 0, "offline": 0}
        with self._lock:
            now = self._clock()
            for entry in self._entries.values():
                counts[entry.state(now)] += 1
        return counts

    def series(self) -> int:
        """Series of all devices on ``/metrics``."""
        with self._lock:
            now = self._clock()
            return sum(entry.series for entry in self._entries.values() if entry.fresh(now))

    def say(self, key: Key, status: Status | None) -> None:
        """Birth, last will, or None: the broker keeps no status of it. ``Refused`` if there is no room."""
        with self._lock:
            if status is None:
                return self._drop(key)
            entry = self._entry(key)
            if status.state == "online":
                entry.begin(status.session)
                entry.status, entry.online, entry.heard = status, True, self._clock()
            elif status.session == entry.session or entry.session < 0:
                entry.session, entry.online, entry.heard = status.session, False, self._clock()
            return None

    def report(self, key: Key, snapshot: Snapshot) -> int:
        """Take a snapshot; how many of its series found no room.

        ``Refused`` if it is older than the last one, or there is no room for its device.
        """
        with self._lock:
            entry, now = self._entry(key), self._clock()
            if (snapshot.session, snapshot.sequence) <= (entry.session, entry.sequence):
                raise Refused("stale", f"{snapshot.session}.{snapshot.sequence}")
            entry.begin(snapshot.session)
            entry.online, entry.sequence = True, snapshot.sequence
            entry.heard = entry.reported = now
            entry.interval, entry.uptime = snapshot.interval, snapshot.uptime
            taken = self._room(entry, snapshot.families, now)
            entry.figures = figures.read({family.name: family for family in taken})
            entry.series = sum(map(contract.lines, taken))
            entry.blocks = [exposition.block(*key, family) for family in taken]
            return entry.refused

    def tidy(self) -> None:
        """Let go of what is over."""
        with self._lock:
            now = self._clock()
            for entry in self._entries.values():
                if entry.blocks and not entry.fresh(now):
                    entry.blocks, entry.figures = [], None
            for key in [key for key, entry in self._entries.items() if now - entry.heard > FORGET]:
                self._drop(key)

    def _drop(self, key: Key) -> None:
        if self._entries.pop(key, None):
            self._forget(key)

    def _entry(self, key: Key) -> _Entry:
        """That of a device, made if need be: whoever is offline for longest gives way."""
        if key not in self._entries:
            if len(self._entries) >= self._max_nodes:
                self._drop(self._longest_offline())
            self._entries[key] = _Entry(self._clock())
        return self._entries[key]

    def _longest_offline(self) -> Key:
        offline = [(entry.heard, key) for key, entry in self._entries.items() if not entry.online]
        if not offline:
            raise Refused("nodes", f"there are {self._max_nodes} already")
        return min(offline)[1]

    def _room(self, entry: _Entry, families: tuple[Family, ...], now: float) -> list[Family]:
        """The families that fit in: of one device, so many different series a day, old ones included."""
        if now - entry.known_since > _DAY:
            entry.known, entry.lines, entry.known_since = set(), 0, now
        taken, refused = [], 0
        for family in families:
            if entry.admit(family, self._max_series):
                taken.append(family)
            else:
                refused += contract.lines(family)
        entry.refused = refused
        return taken


def _device(key: Key, entry: _Entry, now: float) -> Device:
    birth, fresh = entry.status, entry.fresh(now)
    return Device(
        site=key.site,
        node=key.node,
        state=entry.state(now),
        session=entry.session,
        restarts=entry.restarts,
        last_seen=_wall(entry.heard, now),
        interval=entry.interval,
        uptime=entry.uptime,
        series=entry.series if fresh else 0,
        refused_series=entry.refused,
        versions=birth.versions if birth else None,
        model=birth.model if birth else None,
        gate=birth.gate if birth else None,
        figures=entry.figures if fresh else None,
    )


def _wall(moment: float, now: float) -> float:
    """Seconds since 1970 of a moment by the monotonic clock; a machine may learn the time late."""
    return time.time() - (now - moment)
