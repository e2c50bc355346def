"""What the devices' certificates promise, whether they stand, and what the audits found."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import isfinite, nan

import msgspec

from cloud_server.fleet.figures import Figures


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """Of one device or of several; of several the weakest promise. NaN is what nobody knows."""

    grounds: dict[str, int]
    """Devices by the ground on which their certificate stands (``valid``) or does not."""
    epsilon: float
    """Of those that stand: accuracy that may be lost."""
    delta: float
    """Probability that such a certificate is wrong."""
    risk: float
    """What may be lost now, deferrals included that the cloud did not answer."""
    agreement: float
    """Share of the kept answers that the cloud would have given, by audit; devices by how many they kept."""
    low: float
    """Bounds of that; of one device only: those of several do not add up."""
    high: float


def promise(figures: Sequence[Figures]) -> Promise:
    """Of the devices that speak now."""
    valid = [each for each in figures if each.ground == "valid"]
    alone = figures[0] if len(figures) == 1 else None
    return Promise(
        grounds=dict(Counter(each.ground for each in figures if each.ground).most_common()),
        epsilon=_most(each.epsilon for each in valid or figures),
        delta=_most(each.delta for each in valid or figures),
        risk=_most(each.risk for each in valid or figures),
        agreement=_agreement(figures),
        low=1 - alone.disagreement_high if alone else nan,
        high=1 - alone.disagreement_low if alone else nan,
    )


def _agreement(figures: Iterable[Figures]) -> float:
    known = [
        (each.answered_by_edge, each.disagreement)
        for each in figures
        if each.answered_by_edge > 0 and isfinite(each.disagreement)
    ]
    kept = sum(weight for weight, _ in known)
    return 1 - sum(weight * share for weight, share in known) / kept if kept else nan


def _most(values: Iterable[float]) -> float:
    return max((value for value in values if isfinite(value)), default=nan)
