"""What all processes of a session take together, by what Linux says of them."""

import os
from collections.abc import Iterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_SESSION, _USER, _SYSTEM = 3, 11, 12
"""Fields of ``/proc/PID/stat`` after the name."""


def cpu_seconds(session: int) -> float:
    """User and system time so far."""
    return sum(int(it[_USER]) + int(it[_SYSTEM]) for _, it in _members(session)) / _TICKS


def megabytes(session: int) -> float:
    """Memory, with what is shared with others counted in part (PSS)."""
    return sum(_pss(pid) for pid, _ in _members(session)) / 1024


def count(session: int) -> int:
    """Processes."""
    return sum(1 for _ in _members(session))


def _members(session: int) -> Iterator[tuple[Path, list[str]]]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[_SESSION]) == session:
            yield stat.parent, fields


def _pss(process: Path) -> int:
    """Kilobytes."""
    for line in (process / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0
