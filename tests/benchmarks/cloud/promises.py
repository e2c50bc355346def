"""What the issue asks of the server, beside what was measured."""

import statistics
from collections.abc import Iterator, Mapping

import msgspec

from tests.benchmarks.cloud.contenders import BARE, ECHO, OURS, STREAM
from tests.benchmarks.table import Row


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One case, as it was measured."""

    title: str
    rows: list[dict[str, str | float]]
    machine: str
    rates: dict[str, list[float]]
    """Answers a second of each contender, round by round."""
    p50: dict[str, list[float]]
    """Likewise milliseconds."""


RATIOS = (
    ("small-16", "MLServer", 3.8),
    ("small-16", "KServe", 1.85),
    ("small-16", "Triton", 1.0),
    ("small-16", ECHO, 0.45),
    ("mid-16", "MLServer", 2.5),
    ("mid-16", "KServe", 1.15),
    ("mid-16", "Triton", 1.0),
    ("mid-16", BARE, 0.75),
)
"""Case, who is compared with, and how many times as many answers a second there are to be at least."""
ABOVE = (
    ("small-1", STREAM, 0.5),
    ("small-1", OURS, 0.95),
    ("mid-1", STREAM, 0.9),
    ("mid-1", OURS, 1.4),
)
"""Case, contender, and the milliseconds that it may take at most beyond the bare network."""
IDLE = (("ready after, s", 0.6), ("memory (PSS), MB", 75.0), ("CPU at rest, %", 0.5))
"""What ours may take at most."""


def rows(kept: Mapping[str, Kept]) -> list[Row]:
    """All promises about cases that have been measured."""
    return [*_ratios(kept), *_above(kept), *_idle(kept)]


def _ratios(kept: Mapping[str, Kept]) -> Iterator[Row]:
    for case, other, least in RATIOS:
        if case not in kept:
            continue
        rates = kept[case].rates
        ours, theirs = (_best(rates, it) for it in (OURS, other))
        each = sorted(a / b for a, b in zip(rates[ours], rates[theirs], strict=True))
        found = statistics.median(each)
        yield {
            "promise": f"{case}: at least {least:.2f} x {theirs}",
            "measured": f"{found:.2f} ({each[0]:.2f} to {each[-1]:.2f}), {ours}",
            "kept": "yes" if found >= least else "NO",
        }


def _best(rates: Mapping[str, list[float]], name: str) -> str:
    """Of all settings of a server, the one that gave most."""
    return max((it for it in rates if it.startswith(name)), key=lambda it: statistics.median(rates[it]))


def _above(kept: Mapping[str, Kept]) -> Iterator[Row]:
    for case, name, most in ABOVE:
        if case not in kept:
            continue
        p50 = kept[case].p50
        bare = p50[f"{BARE}, 1 thread"]
        found = statistics.median(a - b for a, b in zip(p50[name], bare, strict=True))
        yield {
            "promise": f"{case}: {name}, at most {most:.2f} ms over {BARE}",
            "measured": f"{found:.2f} ms",
            "kept": "yes" if found <= most else "NO",
        }


def _idle(kept: Mapping[str, Kept]) -> Iterator[Row]:
    if "idle" not in kept:
        return
    ours = next(it for it in kept["idle"].rows if it["server"] == OURS)
    for what, most in IDLE:
        found = float(ours[what])
        yield {
            "promise": f"idle: {what}, at most {most:g}",
            "measured": f"{found:.2f}",
            "kept": "yes" if found <= most else "NO",
        }
