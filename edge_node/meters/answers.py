"""What an answer of the cloud tells beside the answer: where its time went, and what the time is there."""

import time
from collections import deque
from collections.abc import Callable, Mapping

from edge_node.metrics import Meter
from protos import timing

REMEMBERED = 8
"""Answers of which the one that was under way for least says how far the clocks are apart, as in NTP."""


class Answers:
    """Splits the time of calls into stages, and compares clocks."""

    def __init__(self, meter: Meter, clock: Callable[[], float] = time.time) -> None:
        """``clock``: this node's, in seconds since 1970."""
        self._meter, self._clock = meter, clock
        self._skews: deque[tuple[float, float]] = deque(maxlen=REMEMBERED)

    def heard(self, facts: Mapping[str, str], seconds: float, confidence: float) -> None:
        """An answer came, after so many seconds on network and server together."""
        stages = timing.stages(facts)
        network = max(0.0, seconds - sum(stages.values()))
        self._meter.confidences["cloud"].observe(confidence)
        if stages:
            self._meter.stage["network"].observe(network)
        for stage, name in (("queue", "cloud_queue"), ("compute", "cloud_compute")):
            if stage in stages:
                self._meter.stage[name].observe(stages[stage])
        if (theirs := timing.clock(facts)) is not None:
            self._compare(theirs, network)

    def _compare(self, theirs: float, network: float) -> None:
        """The answer was half of the network's time under way, give or take that half."""
        self._skews.append((network / 2, self._clock() - network / 2 - theirs))
        error, skew = min(self._skews)
        self._meter.clock_skew.set(skew)
        self._meter.clock_skew_error.set(error)
