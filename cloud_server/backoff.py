"""How long to wait before the next attempt."""

import random

BACK_OFF = (0.5, 10.0)
"""Seconds between attempts to reach broker or database: at first, and at most."""

PAUSE = 0.02
"""Seconds for which who is refused stays away at least; up to half as long again, lest all return at once."""


def pause(wait: float) -> float:
    """Seconds for which to stay away from who keeps one waiting for so long."""
    return max(PAUSE, wait) * random.uniform(1, 1.5)  # noqa: S311 - no secret


class BackOff:
    """Waits ever longer, by full jitter, so that those who failed together do not come back together."""

    def __init__(self) -> None:
        self.attempts = 0
        """That have failed since the last success."""

    def succeeded(self) -> None:
        """Begin anew."""
        self.attempts = 0

    def failed(self) -> float:
        """Seconds to wait now."""
        least, most = BACK_OFF
        self.attempts += 1
        return random.uniform(0, min(most, least * 2 ** min(self.attempts, 10)))  # noqa: S311 - no secret
