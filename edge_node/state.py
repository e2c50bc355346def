"""Where a node keeps what must survive it."""

import logging
import os
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")

log = logging.getLogger(__name__)


def state_directory() -> Path:
    """What systemd keeps for the service, else in the user's own state."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(os.environ.get("STATE_DIRECTORY") or Path(state) / "tidegate")


class Saved(Generic[T]):
    """One value in a file of JSON, replaced as a whole. Without a disk it is forgotten, and nothing fails."""

    def __init__(self, path: Path, kind: type[T]) -> None:
        self._path, self._kind = path, kind

    def load(self) -> T | None:
        """What was saved last; ``None`` where there is nothing, or nothing that can be read."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=self._kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            log.warning("%s is of no use: %s", self._path, error)
            return None

    def save(self, value: T) -> None:
        """Replace it."""
        new = self._path.with_suffix(".new")
        try:
            new.write_bytes(msgspec.json.encode(value))
            new.replace(self._path)
        except OSError as error:
            log.warning("%s cannot be saved: %s", self._path, error)
