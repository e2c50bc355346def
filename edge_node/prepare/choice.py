"""The rule by which one variant is chosen."""

from collections.abc import Sequence
from dataclasses import dataclass

from protos.artifact import Precision

TIE = 0.05
"""Times closer than this are the same: the smaller file wins."""
REFERENCE = "fp32"


@dataclass(frozen=True)
class Candidate:
    """What the rule looks at."""

    name: str
    precision: Precision
    drop: float
    size: int
    """Bytes."""
    time: float | None
    """Of one inference, as a share of fp32's on this machine; none where that says nothing of the target."""


@dataclass(frozen=True)
class Choice:
    """The winner and why, in one line without figures that another run would change."""

    name: str
    reason: str


def choose(candidates: Sequence[Candidate], max_drop: float) -> Choice:
    """Of those that keep the budget the fastest, on a tie the smallest.

    Without times, the first: they come in the order of what usually is best on a device. ``fp32`` is
    always among the candidates and always keeps the budget.
    """
    kept = [one for one in candidates if one.drop <= max_drop or one.name == REFERENCE]
    if all(one.time is None for one in kept):
        return Choice(kept[0].name, _untimed(kept[0], candidates))
    timed = [one for one in kept if one.time is not None]
    fastest = min(one.time for one in timed if one.time is not None)
    tied = [one for one in timed if one.time is not None and one.time <= fastest * (1 + TIE)]
    winner = min(tied, key=lambda one: one.size)
    return Choice(winner.name, _reason(winner, candidates, max_drop))


def named(candidate: Candidate, max_drop: float) -> Choice:
    """The one way that was asked for, fast or not."""
    return Choice(candidate.name, f"{candidate.name}, as asked for, keeps the budget of {max_drop:g}")


def _reason(winner: Candidate, candidates: Sequence[Candidate], max_drop: float) -> str:
    if winner.precision == "int8":
        return f"{winner.name} keeps the budget, and nothing that does is clearly faster on this machine"
    small = [one for one in candidates if one.precision == "int8"]
    within = [one for one in small if one.drop <= max_drop]
    if not small:
        return f"{winner.name} is the fastest of what was tried"
    if not within:
        return f"{winner.name}: no int8 variant keeps the budget of {max_drop:g}"
    return f"{winner.name}: no int8 variant that keeps the budget is faster on this machine"


def _untimed(winner: Candidate, candidates: Sequence[Candidate]) -> str:
    passed = [one.name for one in candidates[: candidates.index(winner)]]
    why = f"{', '.join(passed)} would lose more than the budget" if passed else "it keeps the budget"
    return f"{winner.name}: {why}; the target is another CPU, so speed has to be measured there"
