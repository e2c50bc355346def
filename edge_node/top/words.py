"""What figures, reasons and grounds are called on the screen: the dashboard's words."""

from collections.abc import Mapping
from math import inf, isfinite, isnan

UNKNOWN = "-"
ALARM = 1000.0
"""E-value at which the certificate falls."""

REASONS: Mapping[str, str] = {
    "confident": "Edge was sure",
    "cloud": "Cloud answered",
    "cloud_timeout": "Cloud was too late",
    "cloud_unreachable": "Cloud was not reached",
    "cloud_saturated": "Cloud was too busy",
    "cloud_error": "Cloud refused",
    "circuit_open": "Cloud failed too often",
    "budget_exhausted": "Budget was used up",
    "no_gain": "Cloud knows no better",
    "edge_only": "No cloud is set up",
    "deferred": "Cloud is still asked",
    "invalid_sample": "Input was unreadable",
}
GROUNDS: Mapping[str, tuple[str, str]] = {
    "valid": ("Valid", "the promise stands"),
    "none": ("No certificate", "no promise"),
    "mismatch": ("Other model", "no promise"),
    "drift": ("Drift", "promise withdrawn"),
    "labels": ("Labels disagree", "withdrawn"),
    "expired": ("Expired", "no promise"),
    "budget": ("Budget too small", "it rests"),
    "unserved": ("Cloud missing", "promise rests"),
}
CIRCUIT: Mapping[float, tuple[str, str]] = {
    0: ("Closed", "calls go through"),
    1: ("Half-open", "one call tries"),
    2: ("Open", "cloud is not asked"),
}
DROPS: Mapping[str, str] = {
    "rows": "too many",
    "bytes": "no room",
    "age": "too old",
    "disk": "disk",
    "corrupt": "damaged",
    "oversize": "too large",
    "refused": "refused",
}


def clean(text: str, most: int = 40) -> str:
    """Somebody else's text, fit for a terminal."""
    return "".join(it if it.isprintable() else "?" for it in text)[:most]


def number(value: float) -> str:
    """Three digits that matter, and never an exponent."""
    if isnan(value):
        return UNKNOWN
    if not isfinite(value):
        return "no end" if value > 0 else UNKNOWN
    places = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:,.{places}f}"


def count(value: float) -> str:
    """A whole number."""
    if isnan(value):
        return UNKNOWN
    if value < 1e7:
        return f"{value:,.0f}"
    return f"{number(value / 1e6)} M"


def seconds(value: float) -> str:
    """A short time."""
    if value == inf:
        return "> 10 s"
    if isnan(value):
        return UNKNOWN
    return f"{number(value * 1e3)} ms" if value < 1 else f"{number(value)} s"


def age(value: float) -> str:
    """A long time, in its largest unit, and in a second one where that says much."""
    if not isfinite(value):
        return UNKNOWN
    if value < 60:
        return f"{value:.0f} s"
    minutes = int(value // 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def size(value: float) -> str:
    """Bytes."""
    if isnan(value):
        return UNKNOWN
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{number(value)} {unit}"
        value /= 1000
    return f"{number(value)} GB"


def percent(value: float, places: int = 1) -> str:
    """A share."""
    return UNKNOWN if isnan(value) else f"{100 * value:.{places}f} %"


def points(value: float) -> str:
    """A share of accuracy, in percentage points."""
    return UNKNOWN if isnan(value) else f"{100 * value:.3g}"
