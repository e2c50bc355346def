"""What a server says of the time an answer took, in the response's parameters, over HTTP in its headers.

As HTTP's Server-Timing does, ``server-timing: queue;dur=0.2, compute;dur=3.1`` in milliseconds; and
``tidegate-clock``: seconds since 1970 by the server's clock when the answer was ready. Servers other than
ours need not have either.
"""

import math
import re
import time
from collections.abc import Mapping

SERVER_TIMING = "server-timing"
CLOCK = "tidegate-clock"

_ENTRY = re.compile(r"(\w+)(?:;[^;,]*)*?;dur=([0-9.]+)(?![^\s,;])")
_LONGEST = 86_400.0
"""Seconds: who says more is not believed."""


def facts(queue: float, compute: float) -> dict[str, str]:
    """The seconds of each stage, and the time now."""
    stages = f"queue;dur={queue * 1e3:.3f}, compute;dur={compute * 1e3:.3f}"
    return {SERVER_TIMING: stages, CLOCK: f"{time.time():.6f}"}


def stages(facts: Mapping[str, str]) -> dict[str, float]:
    """Seconds by stage, as far as a server says them."""
    text = facts.get(SERVER_TIMING, "")
    found = {stage: _number(milliseconds) / 1e3 for stage, milliseconds in _ENTRY.findall(text)}
    return {stage: seconds for stage, seconds in found.items() if 0 <= seconds <= _LONGEST}


def clock(facts: Mapping[str, str]) -> float | None:
    """Seconds since 1970 when the answer was ready; ``None`` if the server does not say."""
    seconds = _number(facts.get(CLOCK, ""))
    return seconds if math.isfinite(seconds) else None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
