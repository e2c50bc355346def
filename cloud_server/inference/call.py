"""What a call says of itself, whichever way it came."""

from collections.abc import Callable

from msgspec import Struct


class Call(Struct, frozen=True):
    """Who asks, until when, and how urgently."""

    identity: str | None = None
    """Of the certificate or token; ``None`` if the caller has shown none."""
    deadline: float | None = None
    """On the monotonic clock; ``None``: whenever."""
    priority: int = 0
    """0: normal; a larger one comes later."""
    alive: Callable[[], bool] = lambda: True
    """Whether its caller still waits, as far as can be known."""
