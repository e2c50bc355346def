"""Energy of an inference, where the processor counts it (RAPL)."""

import statistics
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edge_node.meters.sensors import Sensor
from protos.codec import Tensor

if TYPE_CHECKING:
    from onnx import ModelProto

_ROUNDS = 3
_SECONDS = 1.0
"""The counter moves about every millisecond: in so long a time its steps do not show."""


def joules_of(
    models: Mapping[str, "ModelProto"], sample: Tensor, meter: Sensor, seconds: float = _SECONDS
) -> dict[str, float]:
    """Of one inference at one thread, the idle machine included: the median of rounds taken in turns."""
    from edge_node.prepare.graph import to_session

    sessions = {name: to_session(model) for name, model in models.items()}
    found: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(_ROUNDS):
        for name, session in sessions.items():
            feed = {session.get_inputs()[0].name: sample[None]}
            before, runs, end = meter.spent(), 0, time.perf_counter() + seconds
            while time.perf_counter() < end:
                session.run(None, feed)
                runs += 1
            found[name].append((meter.spent() - before) / runs)
    return {name: statistics.median(rounds) for name, rounds in found.items()}
