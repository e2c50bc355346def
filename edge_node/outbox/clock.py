"""Seconds of a device's life that are known to have passed: what the age of a result is measured with.

The wall clock may jump by years; the clock of the boot cannot, but starts again with each boot. So
its seconds are added to those of the boots before; time without power is not known, and counts nothing.
"""

import time
from pathlib import Path

import msgspec

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Moment(msgspec.Struct, frozen=True):
    """One moment, by both clocks."""

    seconds: float = 0.0
    """Of the device's life."""
    boot: str = ""
    """Which boot it was in; empty where the system does not tell."""
    uptime: float = 0.0
    """Seconds since that boot."""


class Lifetime:
    """The clock, from the last moment that is known."""

    def __init__(self, last: Moment) -> None:
        self._boot = _boot()
        uptime = time.clock_gettime(_CLOCK)
        same = bool(self._boot) and last.boot == self._boot
        since = uptime - last.uptime if same else uptime if self._boot else 0.0
        self._zero = last.seconds + max(0.0, since) - uptime

    def now(self) -> Moment:
        """Never before an earlier moment."""
        uptime = time.clock_gettime(_CLOCK)
        return Moment(self._zero + uptime, self._boot, uptime)


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
