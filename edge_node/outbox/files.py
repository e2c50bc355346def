"""What lies beside the database: the lock, the ballast and the witness."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from struct import Struct
from typing import NamedTuple
from zlib import crc32

from edge_node.config import EdgeConfig
from edge_node.errors import OutboxError
from edge_node.state import state_directory

DATABASE = "outbox.db"
OUTDATED = "outdated"
"""An empty file: others have seen results with numbers that the database has yet to give."""
HEARD = "sink"
"""An empty file: a results sink has spoken to this node."""
BESIDE = ("", "-wal", "-shm")
"""Suffixes of the files that are one database."""


def folder(settings: EdgeConfig) -> Path:
    """Of this node's outbox."""
    own = f"{settings.node.site}.{settings.node.name}"
    return settings.outbox.path or state_directory() / "outbox" / own


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """The folder, made where it is not there, is this process's alone; ``OutboxError`` if it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise OutboxError(folder, (error.strerror or str(error)).lower()) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise OutboxError(folder, "is in use by another process: stop it, or set another path") from None
    try:
        yield
    finally:
        os.close(handle)


def sync(folder: Path) -> None:
    """What was made, renamed or removed in it is so after a power cut, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Ballast:
    """Space set aside: given up when the disk is full, taken again when it is not."""

    def __init__(self, folder: Path, size: int) -> None:
        self._path, self.size = folder / "ballast", size

    def release(self) -> None:
        self._path.unlink(missing_ok=True)

    def restore(self) -> bool:
        """Whether it is there, and some space beside it."""
        with suppress(OSError):
            if self.size == 0 or self._path.stat().st_size == self.size:
                return True
        disk = os.statvfs(self._path.parent)
        if disk.f_bavail * disk.f_frsize < self.size * 5 // 4:
            return False
        try:
            with self._path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self.size)
        except OSError:
            self.release()
            return False
        return True


class Testimony(NamedTuple):
    """What the database said after its last transaction."""

    session: int
    commits: int
    next_seq: int
    floor: int
    rows: int


class Witness:
    """The last testimony, in a file that is never synced.

    After a process died the witness knows all that the database must; after a power cut, maybe less.
    It never knows more: a database that does has lost transactions, whatever its own checks say.
    """

    _FORM = Struct("<5qI")

    def __init__(self, folder: Path) -> None:
        self._path = folder / "witness"
        self._file: int | None = None

    def last(self) -> Testimony | None:
        """The testimony, if there is one and it is whole."""
        with suppress(OSError):
            content = self._path.read_bytes()
            if len(content) == self._FORM.size:
                *numbers, sealed = self._FORM.unpack(content)
                if crc32(content[:-4]) == sealed:
                    return Testimony(*numbers)
        return None

    def testify(self, now: Testimony) -> None:
        """Keep it, as well as the disk allows: without it nothing is lost that is not lost anyway."""
        content = self._FORM.pack(*now, 0)[:-4]
        with suppress(OSError):
            if self._file is None:
                self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            os.pwrite(self._file, content + crc32(content).to_bytes(4, "little"), 0)

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
