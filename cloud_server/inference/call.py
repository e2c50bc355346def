"""What a call says of itself, whichever way it came."""

import time
from collections.abc import Callable

from msgspec import Struct

from cloud_server.errors import Expired, Gone, RequestError

USUAL = 2
"""Priority of a call that says nothing of it: there is one before it, and any number behind it."""


class Call(Struct, frozen=True):
    """Who asks, until when, and how urgently."""

    identity: str | None = None
    """Of the certificate or token; ``None`` if the caller has shown none."""
    deadline: float | None = None
    """On the monotonic clock; ``None``: whenever."""
    priority: int = USUAL
    """1 comes first."""
    seated: bool = False
    """Whether it has a place among those who wait already."""
    alive: Callable[[], bool] = lambda: True
    """Whether its caller still waits, as far as can be known."""

    def hopeless(self) -> RequestError | None:
        """Why its caller waits no longer."""
        if self.deadline is not None and self.deadline <= time.monotonic():
            return Expired()
        return None if self.alive() else Gone()
