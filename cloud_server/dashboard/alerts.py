"""What is wrong with a device, in the words of the page. The rules for Prometheus are kin to these."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import msgspec

from cloud_server.fleet.devices import Device
from cloud_server.fleet.figures import Figures

OLD = 600.0
"""Seconds that a result may wait before that is worth a word."""
OPEN = 2
"""A circuit that is open, as the nodes count."""

Severity = Literal["serious", "warning"]


class Alert(msgspec.Struct, frozen=True):
    """One thing that somebody should look at."""

    id: str
    severity: Severity
    title: str
    """Two or three words."""
    advice: str
    """What it means, and what to do."""


class _Rule(NamedTuple):
    alert: Alert
    applies: Callable[[Device, Figures], bool]


_BROKEN = ("drift", "labels", "mismatch", "expired", "budget", "unserved")
"""Grounds on which a promise that was made does not stand."""

SILENT = Alert(
    "silent", "serious", "Silent", "It went without a farewell. Look for its power, its network, its broker."
)
MODEL = Alert(
    "model",
    "warning",
    "Other model",
    "Its model has the name and version of the others' but not their content. Deploy it again.",
)
_RULES = (
    _Rule(
        Alert("dropped", "serious", "Results lost", "Its outbox gave results up: full, too old, or damaged."),
        lambda _, figures: figures.dropped_results > 0,
    ),
    _Rule(
        Alert("outbox", "warning", "Results late", "Its oldest result has waited for more than ten minutes."),
        lambda _, figures: figures.queued_age > OLD,
    ),
    _Rule(
        Alert(
            "circuit", "warning", "Cloud unreachable", "It has stopped asking a cloud that failed too often."
        ),
        lambda _, figures: figures.circuit == OPEN,
    ),
    _Rule(
        Alert(
            "promise", "serious", "Promise broken", "Its certificate does not hold now; its page says why."
        ),
        lambda _, figures: figures.ground in _BROKEN,
    ),
    _Rule(
        Alert("lost_input", "warning", "Inputs lost", "Samples were lost before the model could see them."),
        lambda _, figures: figures.dropped_samples > 0,
    ),
)


def of(device: Device, usual: "Usual") -> tuple[Alert, ...]:
    """What is wrong with it, what is serious first."""
    found = [SILENT] if device.state == "silent" else []
    if device.figures:
        found += [rule.alert for rule in _RULES if rule.applies(device, device.figures)]
    if usual.differs(device):
        found.append(MODEL)
    return tuple(sorted(found, key=lambda alert: alert.severity != "serious"))


class Usual:
    """Which content most devices have under a model's name and version."""

    def __init__(self, devices: Iterable[Device]) -> None:
        found: dict[tuple[str, str], Counter[str]] = {}
        for device in devices:
            if device.model and device.model.sha256:
                name = (device.model.name, device.model.version)
                found.setdefault(name, Counter())[device.model.sha256] += 1
        self._digests = {name: digests.most_common(1)[0][0] for name, digests in found.items()}

    def differs(self, device: Device) -> bool:
        """Whether this device has another; where two are as common, the first one seen is right."""
        model = device.model
        if model is None or not model.sha256:
            return False
        return model.sha256 != self._digests[model.name, model.version]
