"""The part of systemd to which a unit's program reports."""

import select
import socket
from pathlib import Path


class Supervisor:
    """A socket for ``NOTIFY_SOCKET``."""

    def __init__(self, folder: Path, patience: float = 10.0) -> None:
        self.address = folder / "notify"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.address))
        self._socket.settimeout(patience)

    def next(self) -> str:
        """The next message, such as ``READY=1``."""
        return self._socket.recv(4096).decode()

    def silent(self) -> bool:
        """Whether there is none just now."""
        return not select.select([self._socket], [], [], 0)[0]

    def close(self) -> None:
        self._socket.close()
