"""Energy of an inference, where the processor counts it (RAPL)."""

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from protos.codec import Tensor

if TYPE_CHECKING:
    from onnx import ModelProto

POWERCAP = Path("/sys/class/powercap")
_ROUNDS = 3
_SECONDS = 1.0
"""The counter moves about every millisecond: in so long a time its steps do not show."""


class Meter(Protocol):
    """Counts energy."""

    def spent(self) -> float:
        """Joules since the meter was made."""


class Rapl:
    """All processor packages of this machine, with whatever else runs on them."""

    def __init__(self, packages: list[Path]) -> None:
        self._packages = packages
        self._last = [_microjoules(it / "energy_uj") for it in packages]
        self._sum = 0

    def spent(self) -> float:
        """Joules since the meter was made; counters begin again at their range."""
        now = [_microjoules(it / "energy_uj") for it in self._packages]
        for package, before, after in zip(self._packages, self._last, now, strict=True):
            wrapped = _microjoules(package / "max_energy_range_uj") if after < before else 0
            self._sum += after - before + wrapped
        self._last = now
        return self._sum / 1e6


def rapl(root: Path = POWERCAP) -> Rapl | None:
    """None where the machine has no such counter, or keeps it from this user."""
    packages = sorted(it for it in root.glob("intel-rapl:*") if it.name.count(":") == 1)
    try:
        return Rapl(packages) if packages else None
    except OSError:
        return None


def joules_of(
    models: Mapping[str, "ModelProto"], sample: Tensor, meter: Meter, seconds: float = _SECONDS
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


def _microjoules(file: Path) -> int:
    return int(file.read_text())
