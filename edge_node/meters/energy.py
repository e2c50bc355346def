"""Joules: measured where the machine has a sensor, else estimated for a device that is named. Never both."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta
from prometheus_client import Counter

from edge_node.config import Energy
from edge_node.errors import NodeError
from edge_node.meters import sensors

CONSTANTS = Path(__file__).with_name("energy.toml")
_DEVICE_TREE = "firmware/devicetree/base/model"

Positive = Annotated[float, Meta(ge=0)]
T = TypeVar("T")
Traffic = Callable[[], tuple[float, float]]
"""Bytes sent and received so far."""


class Device(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a device draws, watts."""

    idle: Positive
    core: Positive
    """More for each core that is busy."""
    recognised: str | None = None
    """How the device itself calls itself, at least."""


class Radio(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Huang et al., MobiSys 2012."""

    up: Positive
    down: Positive
    """Joules a bit."""
    base: Positive
    """Watts while bits cross, at these rates:"""
    rate_up: Annotated[float, Meta(gt=0)]
    rate_down: Annotated[float, Meta(gt=0)]
    tail: Positive
    """Watts for ``tail_seconds`` after the last byte."""
    tail_seconds: Positive


class Constants(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of them."""

    version: int
    devices: dict[str, Device] = {}
    radios: dict[str, Radio] = {}


class Estimate:
    """What a device draws whose sensors say nothing: itself, what this process computes, and the radio."""

    def __init__(
        self,
        device: Device,
        radio: Radio | None,
        traffic: Traffic,
        clock: Callable[[], float] = time.monotonic,
        busy: Callable[[], float] = time.process_time,
    ) -> None:
        """``busy``: seconds that the cores have worked for this process, added up."""
        self._device, self._radio, self._traffic = device, radio, traffic
        self._clock, self._busy = clock, busy
        self._started, self._worked = clock(), busy()
        self._at, self._bytes = clock(), traffic()
        self._last_byte = -math.inf
        self._radioed = 0.0

    def spent(self) -> dict[str, float]:
        """Joules by part, since it was made."""
        now = self._clock()
        if self._radio:
            self._radioed += self._transfer(self._radio, now)
        self._at = now
        return {
            "idle": self._device.idle * (now - self._started),
            "compute": self._device.core * (self._busy() - self._worked),
            "radio": self._radioed,
        }

    def _transfer(self, radio: Radio, now: float) -> float:
        """Joules since the last look: what was sent and received, and the tail after it."""
        before, self._bytes = self._bytes, self._traffic()
        up, down = (8 * (new - old) for new, old in zip(self._bytes, before, strict=True))
        active = up / radio.rate_up + down / radio.rate_down
        if active:
            self._last_byte = now
        tail = min(now, self._last_byte + radio.tail_seconds) - self._at - active
        return radio.up * up + radio.down * down + radio.base * active + radio.tail * max(0.0, tail)


class EnergyMeter:
    """Adds up what the one source says that this machine has; nothing where it has none."""

    def __init__(
        self, settings: Energy, counter: Counter, traffic: Traffic, root: Path = sensors.SYS
    ) -> None:
        self._counter = counter
        self._sensor = sensors.find(root)
        self._estimate = None if self._sensor else estimate(settings, traffic, root)
        self._last: dict[str, float] = {}
        self.look()

    @property
    def source(self) -> str | None:
        """``measured``, ``estimated``, or neither."""
        return "measured" if self._sensor else "estimated" if self._estimate else None

    def look(self) -> None:
        """Count what was spent since the last look; a sensor that fails says it with the next reading."""
        try:
            spent = {self._sensor.part: self._sensor.spent()} if self._sensor else {}
        except (OSError, ValueError):
            return
        if self._estimate:
            spent = self._estimate.spent()
        for part, joules in spent.items():
            self._counter.labels(self.source, part).inc(max(0.0, joules - self._last.get(part, 0.0)))
        self._last = {part: max(joules, self._last.get(part, 0.0)) for part, joules in spent.items()}


def estimate(settings: Energy, traffic: Traffic, root: Path = sensors.SYS) -> Estimate | None:
    """For the device that is named, or that says what it is; None for one that is not known.

    ``NodeError`` names what is not in the file of constants.
    """
    file = settings.constants or CONSTANTS
    constants = _read(file)
    device = _chosen("device", settings.device, constants.devices, file) or _recognised(constants, root)
    radio = _chosen("radio", settings.radio, constants.radios, file)
    return Estimate(device, radio, traffic) if device else None


def _read(file: Path) -> Constants:
    try:
        return msgspec.toml.decode(file.read_bytes(), type=Constants)
    except OSError as error:
        raise NodeError(f"[energy] constants: {file}: {(error.strerror or str(error)).lower()}") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise NodeError(f"[energy] constants: {file}: {error}") from error


def _chosen(kind: str, name: str | None, known: Mapping[str, T], file: Path) -> T | None:
    if name is not None and name not in known:
        names = ", ".join(sorted(known)) or "none"
        raise NodeError(f"[energy] {kind}: no {name!r} in {file}, which has {names}")
    return known[name] if name is not None else None


def _recognised(constants: Constants, root: Path) -> Device | None:
    """The device that a device tree names."""
    try:
        model = (root / _DEVICE_TREE).read_text().rstrip("\0")
    except OSError:
        return None
    named = (it for it in constants.devices.values() if it.recognised and model.startswith(it.recognised))
    return next(named, None)
