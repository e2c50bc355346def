"""What is made of files, and made anew when they change: certificates, keys, tokens."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


class Reread(Generic[T]):
    """A value made of files. Once they are no good, it stays what it was, and the log says why, once."""

    def __init__(self, paths: Iterable[Path], make: Callable[[], T], wrong: type[Exception]) -> None:
        """``make`` raises ``wrong`` of files that are no good, and now as well."""
        self._paths, self._make, self._wrong = tuple(paths), make, wrong
        self._lock = Lock()
        self._stamps = self._look()
        self._value = make()

    def value(self) -> T:
        """As of now. Costs a look at each file."""
        if (stamps := self._look()) != self._stamps:
            with self._lock:
                if stamps != self._stamps:
                    self._renew()
                    self._stamps = stamps  # of before it was read: a change since then is seen next time
        return self._value

    def _renew(self) -> None:
        try:
            self._value = self._make()
        except self._wrong as error:
            log.warning("%s; what was there before stays in use", error)
        else:
            log.info("%s: read anew", ", ".join(map(str, self._paths)))

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
