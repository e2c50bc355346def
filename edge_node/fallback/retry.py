"""When to try again, and when the server would rather not: gRFC A6, by hand.

By hand because gRPC's own retries know neither the breaker nor the forecast, and cost bytes that nobody
would meter.
"""

import math
import random
from threading import Lock
from typing import Any

TOKENS, RATIO = 10, 0.1
"""A failure takes a token, a success gives a tenth of one back; above half of them there are retries."""
ATTEMPTS = 5
"""The most that one sample gets."""
FIRST_WAIT = 0.05
"""Seconds before a second attempt, at most."""
PUSHBACK = "grpc-retry-pushback-ms"
LONGEST_PUSHBACK = 60.0
"""Seconds: a server does not switch an edge off for the day."""


class RetryBudget:
    """Tokens of all calls together, so that a cloud in trouble is not asked five times as much."""

    def __init__(self) -> None:
        self._tokens, self._lock = float(TOKENS), Lock()

    def succeeded(self) -> None:
        """A call was answered."""
        with self._lock:
            self._tokens = min(TOKENS, self._tokens + RATIO)

    def failed(self) -> bool:
        """A call failed; whether another attempt may be made."""
        with self._lock:
            self._tokens = max(0.0, self._tokens - 1)
            return self._tokens > TOKENS / 2


def retry_wait(attempts: int, call: Any) -> float:
    """Seconds before the next attempt, after so many: the server's word, or doubled with full jitter."""
    asked = pushback(call)
    if attempts >= ATTEMPTS:
        return math.inf
    if asked is not None:
        return asked
    return random.uniform(0, FIRST_WAIT * 2 ** (attempts - 1))  # noqa: S311 - no secret


def pushback(call: Any) -> float | None:
    """Seconds that the server asked to be left alone: infinite if for good, None if it did not say."""
    asked = dict(call.trailing_metadata() or ()).get(PUSHBACK)
    if asked is None:
        return None
    try:
        seconds = int(asked) / 1000
    except ValueError:
        return math.inf
    return seconds if seconds >= 0 else math.inf
