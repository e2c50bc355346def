"""Why a certificate's promise stands or does not, and what is done when it falls."""

from enum import StrEnum, auto


class Ground(StrEnum):
    """Why the promise stands or does not: the first that applies."""

    VALID = auto()
    """It stands."""
    NONE = auto()
    """There is no certificate."""
    MISMATCH = auto()
    """The certificate is for another model, preprocessing or codec."""
    DRIFT = auto()
    """Kept inputs disagree with the cloud more than they did when certified."""
    LABELS = auto()
    """Labels show that accuracy drops by more than certified."""
    EXPIRED = auto()
    """The certificate is too old."""
    BUDGET = auto()
    """Too many deferrals get no answer from the cloud, most of them as the budget has no room for them."""
    UNSERVED = auto()
    """Too many deferrals get no answer from the cloud."""


class OnAlarm(StrEnum):
    """What follows when a promise falls."""

    STRICTER = "stricter"
    """The next stricter certified threshold; everything is offloaded when there is none left."""
    OFFLOAD_ALL = "offload_all"
    HOLD = "hold"
    """The threshold stays."""
