"""How far the numbers of a stream have come: pure arithmetic on ranges, the database is elsewhere."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Range = tuple[int, int]
"""First and last number, both included."""

AHEAD = 1000
"""Ranges kept beyond a gap. What is farther away is stored, but counts only once it is sent again."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What has come of one stream."""

    upto: int = -1
    """Every number up to this one has come, or never will."""
    ahead: tuple[Range, ...] = ()
    """What has come beyond the first gap, in order, apart from each other."""

    def advance(self, numbers: Iterable[int], floor: int = 0) -> tuple["Progress", list[Range]]:
        """After these numbers; and what is missing for ever, as nothing below ``floor`` will still come."""
        came = _joined([(-1, self.upto), *self.ahead, *((number, number) for number in numbers)])
        missing = list(_holes(came, floor))
        (_, upto), *ahead = _joined([*came, *missing])
        return Progress(upto, tuple(ahead[:AHEAD])), missing


def without(gap: Range, numbers: Iterable[int]) -> Iterator[Range]:
    """What is left of a gap when numbers come after all."""
    first, last = gap
    for number in sorted(number for number in numbers if first <= number <= last):
        if first < number:
            yield first, number - 1
        first = number + 1
    if first <= last:
        yield first, last


def _joined(ranges: Iterable[Range]) -> list[Range]:
    """The same numbers in as few ranges as possible, in order."""
    joined: list[Range] = []
    for first, last in sorted(ranges):
        if joined and first <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
        else:
            joined.append((first, last))
    return joined


def _holes(ranges: list[Range], floor: int) -> Iterator[Range]:
    """What lies between ranges, as far as it is below the floor."""
    ends = [first for first, _ in ranges[1:]]
    for (_, last), until in zip(ranges, [*ends, floor], strict=True):
        if last + 1 < min(until, floor):
            yield last + 1, min(until, floor) - 1
