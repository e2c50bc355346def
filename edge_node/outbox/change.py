"""What goes into one transaction of the outbox, and what comes out of it."""

import math
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Row(NamedTuple):
    """A result that waits."""

    seq: int
    payload: bytes


class Held(NamedTuple):
    """An input that waits for the cloud, while its edge answer is out as provisional."""

    id: str
    """Of its result."""
    confidence: float
    """Of the edge: the least certain is worth most to ask about."""
    payload: bytes
    """Whatever its owner needs to ask, or to give up."""


class DeadLetter(NamedTuple):
    """A result that was given up."""

    number: int
    """What to call it when asking to retry or purge it."""
    reason: str
    born: float
    """When it was made, in seconds of the device's life."""
    retry: bool
    """It is sent again from the next start on."""
    payload: bytes


@dataclass(slots=True)
class Change:
    """All that happened since the last transaction."""

    rows: deque[Row] = field(default_factory=deque)
    places: dict[int, Hashable] = field(default_factory=dict)
    """By number of their results, with which they are finished; as with the next two."""
    holds: dict[int, Held] = field(default_factory=dict)
    releases: dict[int, str] = field(default_factory=dict)
    confirmed_upto: int = -1
    confirmed: list[int] = field(default_factory=list)
    dead: list[tuple[int, str]] = field(default_factory=list)
    size: int = 0
    """Bytes of rows and held inputs."""

    def __bool__(self) -> bool:
        return bool(
            self.rows or self.places or self.holds or self.releases or self.confirmed or self.dead
        ) or (self.confirmed_upto >= 0)

    def take(self, most: int) -> "Change":
        """What makes room, and the first rows up to ``most`` bytes, each with all that belongs to it."""
        part = Change(confirmed_upto=self.confirmed_upto, confirmed=self.confirmed, dead=self.dead)
        self.confirmed_upto, self.confirmed, self.dead = -1, [], []
        while self.rows and (part.size < most or not part.rows):
            part.rows.append(row := self.rows.popleft())
            part.size += len(row.payload)
            if held := self.holds.get(row.seq):
                part.size += len(held.payload)
        upto = self.rows[0].seq if self.rows else math.inf
        _move(self.places, part.places, upto)
        _move(self.holds, part.holds, upto)
        _move(self.releases, part.releases, upto)
        self.size -= part.size
        return part

    def shed(self, policy: str, most: int) -> tuple[int, list[Held]]:
        """Down to ``most`` bytes, results go by the policy, then the surest inputs: how many, and which."""
        rows, homeless = 0, []
        while policy != "reject" and self.size > most and self.rows:
            row = self.rows.popleft() if policy == "drop_oldest" else self.rows.pop()
            self.size -= len(row.payload)
            rows += 1
        while self.size > most and self.holds:
            surest = self.holds.pop(max(self.holds, key=lambda seq: self.holds[seq].confidence))
            self.size -= len(surest.payload)
            homeless.append(surest)
        return rows, homeless

    def absorb(self, later: "Change") -> None:
        """Take what came after this as well: the two become one transaction."""
        self.rows += later.rows
        self.places |= later.places
        self.holds |= later.holds
        self.releases |= later.releases
        self.confirmed_upto = max(self.confirmed_upto, later.confirmed_upto)
        self.confirmed += later.confirmed
        self.dead += later.dead
        self.size += later.size


def _move(whole: dict[int, T], part: dict[int, T], upto: float) -> None:
    """What comes before a number, into another."""
    for seq in [seq for seq in whole if seq < upto]:
        part[seq] = whole.pop(seq)
