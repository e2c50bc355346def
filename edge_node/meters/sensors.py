"""What measures energy on this machine, if anything does."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

SYS = Path("/sys")
_SUPPLY = {"VDD_IN", "POM_5V_IN"}
"""Labels of the rail that feeds a whole Jetson board."""


class Sensor(Protocol):
    """Counts energy."""

    part: str
    """What of the machine it counts."""

    def spent(self) -> float:
        """Joules since it was made."""


class Rapl:
    """All processor packages of this machine, with whatever else runs on them."""

    part = "processor"

    def __init__(self, packages: list[Path]) -> None:
        self._packages = packages
        self._last = [_number(it / "energy_uj") for it in packages]
        self._sum = 0

    def spent(self) -> float:
        """Joules since the meter was made; counters begin again at their range."""
        now = [_number(it / "energy_uj") for it in self._packages]
        for package, before, after in zip(self._packages, self._last, now, strict=True):
            wrapped = _number(package / "max_energy_range_uj") if after < before else 0
            self._sum += after - before + wrapped
        self._last = now
        return self._sum / 1e6


class Ina:
    """A current sensor of Texas Instruments on the board's supply: power, added up between two readings."""

    part = "board"

    def __init__(self, power: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._power, self._clock = power, clock
        self._at, self._watts, self._sum = clock(), power(), 0.0

    def spent(self) -> float:
        """Joules since the meter was made, by the trapezoidal rule."""
        now, watts = self._clock(), self._power()
        self._sum += (now - self._at) * (watts + self._watts) / 2
        self._at, self._watts = now, watts
        return self._sum


def find(root: Path = SYS) -> Sensor | None:
    """The best that this machine has and lets this user read: the whole board, or the processor."""
    return ina(root / "class/hwmon") or rapl(root / "class/powercap")


def rapl(root: Path = SYS / "class/powercap") -> Rapl | None:
    """None where the machine has no such counter, or keeps it from this user."""
    packages = sorted(it for it in root.glob("intel-rapl:*") if it.name.count(":") == 1)
    try:
        return Rapl(packages) if packages else None
    except OSError:
        return None


def ina(root: Path = SYS / "class/hwmon", clock: Callable[[], float] = time.monotonic) -> Ina | None:
    """The sensor that reads most: the others are on rails which the supply feeds, too."""
    powers = {power: watts for power in _powers(root) if (watts := _try(power)) is not None}
    return Ina(max(powers, key=lambda it: powers[it]), clock) if powers else None


def _powers(root: Path) -> list[Callable[[], float]]:
    found: list[Callable[[], float]] = []
    for chip in sorted(root.glob("hwmon*")):
        if not _text(chip / "name").startswith("ina"):
            continue
        found += [partial(_watts, it) for it in sorted(chip.glob("power*_input"))]
        found += [partial(_product, it) for it in sorted(chip.glob("in*_label")) if _text(it) in _SUPPLY]
    return found


def _watts(file: Path) -> float:
    return _number(file) / 1e6


def _product(label: Path) -> float:
    """An INA3221 says volts and amperes of a channel, and no watts."""
    channel = label.name.removeprefix("in").removesuffix("_label")
    volts, amperes = (_number(label.with_name(f"{it}{channel}_input")) for it in ("in", "curr"))
    return volts * amperes / 1e6


def _try(power: Callable[[], float]) -> float | None:
    try:
        return power()
    except (OSError, ValueError):
        return None


def _number(file: Path) -> int:
    return int(file.read_text())


def _text(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""
