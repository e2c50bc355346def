"""Power cuts, simulated: every write and sync of a database is recorded, and replayed up to any moment.

The model of the disk: what was synced is there. Of what was not, each sector of 512 bytes is there or
is not, as a die decides: writes get lost, torn and reordered (Pillai et al., OSDI 2014).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import apsw

SECTOR = 512
NAME = "tidegate-power"


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes on their way to a file; no bytes: it is cut off here."""

    file: str
    at: int
    content: bytes | None


@dataclass(frozen=True, slots=True)
class Sync:
    """All that was written to this file is there."""

    file: str


@dataclass(frozen=True, slots=True)
class Delete:
    """The file is gone; SQLite deletes one only when it is needed no more."""

    file: str


Event = Write | Sync | Delete


class Recorder(apsw.VFS):
    """The file system, and a list of what was done to it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        super().__init__(NAME, "")

    def xOpen(self, name: Any, flags: list[int]) -> "RecordedFile":  # noqa: N802 - SQLite's word
        path = name if isinstance(name, str) else name.filename()
        return RecordedFile(self.events, Path(path).name, name, flags)

    def xDelete(self, name: str, sync: bool) -> None:  # noqa: FBT001, N802 - SQLite's words
        self.events.append(Delete(Path(name).name))
        super().xDelete(name, sync)


class RecordedFile(apsw.VFSFile):
    """One of its files."""

    def __init__(self, events: list[Event], name: str, filename: Any, flags: list[int]) -> None:
        self._events, self._name = events, name
        super().__init__("", filename, flags)

    def xWrite(self, content: bytes, at: int) -> None:  # noqa: N802
        self._events.append(Write(self._name, at, bytes(content)))
        super().xWrite(content, at)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._events.append(Write(self._name, size, None))
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._events.append(Sync(self._name))
        super().xSync(flags)


class PowerConnection:
    """A connection through the recorder, as a store wants it."""

    def __init__(self, path: Path, synchronous: str) -> None:
        self._db, self._synchronous = apsw.Connection(str(path), vfs=NAME), synchronous
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")  # no shared memory, which no disk ever sees

    def execute(self, sql: str, parameters: Sequence[Any] = (), /) -> Any:
        return self._db.execute(sql.replace("= FULL", f"= {self._synchronous}"), tuple(parameters))

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> Any:
        return self._db.executemany(sql, parameters)

    def close(self) -> None:
        self._db.close()


@dataclass(slots=True)
class Disk:
    """What a disk holds while events come in."""

    sure: dict[str, bytearray] = field(default_factory=dict)
    unsure: list[Write] = field(default_factory=list)

    def take(self, event: Event) -> None:
        """The next event of the recording."""
        match event:
            case Write():
                self.unsure.append(event)
            case Sync(name):
                for write in self.unsure:
                    if write.file == name:
                        _apply(self.sure.setdefault(name, bytearray()), write.at, write.content)
                self.unsure = [write for write in self.unsure if write.file != name]
            case Delete(name):
                self.sure.pop(name, None)
                self.unsure = [write for write in self.unsure if write.file != name]

    def after_a_cut(self, dice: Random) -> dict[str, bytes]:
        """The files when power comes back."""
        files = {name: bytearray(content) for name, content in self.sure.items()}
        for write in self.unsure:
            file = files.setdefault(write.file, bytearray())
            if write.content is None:
                if dice.random() < 0.5:
                    _apply(file, write.at, None)
                continue
            kept = dice.choice((0.0, 0.5, 1.0))  # all lost, torn, all there
            for start, sector in _sectors(write.at, write.content):
                if dice.random() < kept:
                    _apply(file, start, sector)
        return {name: bytes(content) for name, content in files.items()}


def _sectors(at: int, content: bytes) -> Iterable[tuple[int, bytes]]:
    """Cut along the sectors of the disk."""
    end = at + len(content)
    while at < end:
        following = min(end, (at // SECTOR + 1) * SECTOR)
        yield at, content[: following - at]
        content, at = content[following - at :], following


def _apply(file: bytearray, at: int, content: bytes | None) -> None:
    if content is None:
        del file[at:]
        return
    if len(file) < at:
        file.extend(bytes(at - len(file)))
    file[at : at + len(content)] = content
