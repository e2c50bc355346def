"""What the fleet did in the last hour and day, in memory: per device and of all together.

Counts of a device are compared from snapshot to snapshot, and the difference is spread evenly over
the time between: also over an outage of the broker, in which the device went on. A new session
counts from zero, and a count that falls does too: no rate is ever negative. Any thread may read.
"""

import time
from collections.abc import Callable
from math import inf, nan
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from cloud_server.fleet import columns
from cloud_server.fleet import window as windows
from cloud_server.fleet.columns import LEVELS
from cloud_server.fleet.devices import MISSED, Key
from cloud_server.fleet.ring import Ring
from cloud_server.fleet.window import Recent, Window
from protos.snapshot import Snapshot

HOUR = (15.0, 240)
"""Step and number of the slots of the fine ring."""
DAY = (300.0, 288)
"""Of the coarse one."""
LATE = 15.0
"""Seconds that the newest slot is behind: by then every device has told of its time, as a rule."""
COMBINE = 5.0
"""Seconds between looks at the levels of all devices."""


class _Track:
    """One device, or all together."""

    def __init__(self) -> None:
        self.rings = [Ring(*size, columns.WIDTH, len(LEVELS)) for size in (HOUR, DAY)]
        self.session = -1
        self.at = 0.0
        self.until = -inf
        """When its levels no longer hold."""
        self.counts = np.zeros(columns.WIDTH)
        self.levels = np.full(len(LEVELS), nan)

    def add(self, since: float, now: float, grown: NDArray[np.float64]) -> None:
        for ring in self.rings:
            ring.add(since, now, grown)

    def hold(self, since: float, now: float, levels: NDArray[np.float64]) -> None:
        for ring in self.rings:
            ring.hold(since, now, levels)


class History:
    """Of a fleet. ``clock`` gives monotonic seconds, the same as the device table's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._all = _Track()
        self._tracks: dict[Key, _Track] = {}
        self._lock = Lock()

    def take(self, key: Key, snapshot: Snapshot) -> None:
        """What a device has just said; in the order of its snapshots."""
        counts, levels = columns.read(snapshot)
        with self._lock:
            now = self._clock()
            known = self._tracks.get(key)
            track = self._tracks[key] = known or _Track()
            since = _since(known, snapshot, now)
            if since is not None:
                grown = self._grown(track, snapshot.session, counts)
                grown[columns.COVERED] = now - since
                track.add(since, now, grown)
                self._all.add(since, now, grown)
            track.hold(track.at if now <= track.until else now, now, levels)
            track.session, track.at, track.counts, track.levels = snapshot.session, now, counts, levels
            track.until = now + MISSED * snapshot.interval
            if now - self._all.at >= COMBINE:
                self._combine(now)

    def forget(self, key: Key) -> None:
        """Let go of a device; what it did stays in the sums of all."""
        with self._lock:
            self._tracks.pop(key, None)

    def window(self, key: Key | None, seconds: float) -> Window | None:
        """The last so many seconds of a device, or of all (None); None if the device is not known.

        Up to an hour in slots of 15 s, up to a day in slots of five minutes.
        """
        which = 0 if seconds <= HOUR[0] * HOUR[1] else 1
        step, slots = (HOUR, DAY)[which]
        with self._lock:
            track = self._all if key is None else self._tracks.get(key)
            if track is None:
                return None
            first, last = self._slots(step, min(seconds, step * (slots - 1)))
            counts = track.rings[which].counts(first, last)
            levels = track.rings[which].levels(first, last)
            end = (last + 1) * step + time.time() - self._clock()
        return windows.window(step, end, counts, levels, alone=key is not None)

    def recent(self, seconds: float = 300.0) -> dict[Key, Recent]:
        """The last minutes of every device."""
        with self._lock:
            slots = self._slots(HOUR[0], seconds)
            sums = [track.rings[0].counts(*slots).sum(0) for track in self._tracks.values()]
            return dict(zip(self._tracks, windows.recent(np.array(sums)), strict=True))

    @staticmethod
    def _grown(track: _Track, session: int, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """By how much each count has grown; after a reset, which a fall is, it has grown from zero."""
        reset = (counts < track.counts) | (session != track.session)
        return np.where(reset, counts, counts - track.counts)

    def _combine(self, now: float) -> None:
        """The levels of all devices, as the table of levels says."""
        live = np.array([track.levels for track in self._tracks.values() if now <= track.until])
        levels = [level.combine(live[:, index]) for index, level in enumerate(LEVELS.values())]
        self._all.hold(self._all.at if now <= self._all.until else now, now, np.array(levels))
        self._all.at, self._all.until = now, max(track.until for track in self._tracks.values())

    def _slots(self, step: float, seconds: float) -> tuple[int, int]:
        """The first and last of the slots of which everybody has told by now."""
        last = int((self._clock() - LATE) // step) - 1
        return last - max(1, int(seconds // step)) + 1, last


def _since(track: _Track | None, snapshot: Snapshot, now: float) -> float | None:
    """Since when its counts have grown by what is new; None where that cannot be said.

    A device that has run for longer than we have watched it counts from its next snapshot on.
    """
    began = now - snapshot.uptime
    if track is None:
        return began if snapshot.uptime <= MISSED * snapshot.interval else None
    return track.at if track.session == snapshot.session else max(began, track.at)
