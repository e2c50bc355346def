"""A keyed random share of the stream is watched: what the edge answered goes to the cloud, too.

Whether a sample is watched depends on nothing but the key and its id: not on its score, not on the
link. A watched sample that was deferred anyway costs nothing; one that was kept costs an audit, from
a budget of its own. The published answer never changes.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from threading import Lock
from typing import Protocol

from edge_node.gate.estimates import Disagreement, Memory, Remembered, Tally, Weighted

BOOST = 5.0
"""How much more is watched while there is a suspicion."""
SUSPICIOUS = 10.0
"""Evidence of drift from which on more is watched."""


class Allowance(Protocol):
    """What pays for a call: ``budget.TokenBucket``, or nothing at all."""

    def take(self, nbytes: float) -> bool:
        """Charge the most that a call may use; whether it was there."""

    def settle(self, charged: float, used: float) -> None:
        """Give back what the call did not use."""


class Watch(Protocol):
    """Who hears what watched samples show: ``standing.Standing``."""

    @property
    def offloads_all(self) -> bool:
        """Whether nothing is kept: then all is watched, at no cost."""

    def suspicion(self) -> float:
        """Evidence of drift: 1 is none."""

    def watched(self, score: float, *, disagrees: bool) -> None:
        """Take note of what edge and cloud said of one sample of a uniform selection."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """One sample on its way to the cloud, and what it stands for."""

    request_id: str
    score: float
    edge: int
    nbytes: int
    """What the call may use on the wire, at most."""
    kept: bool
    selected: float | None
    """Probability with which it was to be watched; ``None`` if the lot did not fall on it."""

    @property
    def weight(self) -> float:
        """How much of the stream it stands for in what the cloud costs: deferred samples all show that."""
        return 1 / self.selected if self.kept and self.selected else 1.0


def selected(key: bytes, request_id: str, share: float) -> bool:
    """Whether a sample is among the ``share`` that is watched: of a larger share it is, too."""
    digest = blake2b(request_id.encode(), key=key, digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64


class Audit:
    """Selects, pays, counts and estimates. Thread-safe."""

    def __init__(
        self,
        key: bytes,
        share: float,
        allowance: Allowance,
        watch: Watch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._key, self._share, self._allowance, self._watch = key, share, allowance, watch
        self._clock, self._lock = clock, Lock()
        self.memory = Memory()
        self.seconds, self.bytes = Weighted(), Weighted()
        """Of a cloud that answers everything: latency, and bytes on the wire."""
        self.restart()

    def restart(self) -> None:
        """Count disagreement anew: the certificate, or the stream, is another."""
        self._tally = Tally()

    @property
    def share(self) -> float:
        """Probability with which the next sample is watched."""
        boosted = self._watch.suspicion() > SUSPICIOUS
        return min(1.0, self._share * BOOST) if boosted else self._share

    def kept(self, request_id: str, score: float, edge: int, nbytes: int) -> Ticket | None:
        """Count a sample that the edge answers; its ticket, if audited, ends in ``heard`` or ``lost``."""
        share = self.share
        with self._lock:
            self._tally.inputs += 1
            self._tally.kept += 1
        if not selected(self._key, request_id, share):
            return None
        ticket = Ticket(request_id, score, edge, nbytes, kept=True, selected=share)
        if self._allowance.take(nbytes):
            return ticket
        self._miss(ticket)
        return None

    def deferred(self, request_id: str, score: float, edge: int, nbytes: int) -> Ticket:
        """Count a sample that goes to the cloud anyway: ``heard`` or ``lost`` ends its ticket."""
        share = 1.0 if self._watch.offloads_all else self.share
        with self._lock:
            self._tally.inputs += 1
        chosen = share if selected(self._key, request_id, share) else None
        return Ticket(request_id, score, edge, nbytes, kept=False, selected=chosen)

    def heard(self, ticket: Ticket, cloud: int, seconds: float, nbytes: int) -> None:
        """The cloud has answered, at the price of ``nbytes``."""
        disagrees = cloud != ticket.edge
        if ticket.kept:
            self._allowance.settle(ticket.nbytes, nbytes)
        with self._lock:
            chosen = ticket.selected if ticket.kept or self._represents(ticket.request_id) else None
            sample = Remembered(ticket.edge, cloud, ticket.kept, chosen, ticket.score, self._clock())
            if ticket.kept:
                self._tally.heard(ticket.weight, disagrees=disagrees)
            self.seconds.add(seconds, ticket.weight)
            self.bytes.add(nbytes, ticket.weight)
            self.memory.remember(ticket.request_id, sample)
        if chosen:
            self._watch.watched(ticket.score, disagrees=disagrees)

    def _represents(self, request_id: str) -> bool:
        """Whether a deferred sample stays in the watched set.

        As large a share of them does as of the kept ones is answered: else, where audits go missing,
        the deferred, on which nothing is lost, would hide what is lost on the kept.
        """
        asked = self._tally.audited + self._tally.missing
        answered = self._tally.audited / asked if asked else 1.0
        return selected(self._key, f"thin {request_id}", answered)

    def lost(self, ticket: Ticket, nbytes: int = 0) -> None:
        """The cloud has not answered, though ``nbytes`` were sent: missing, not forgotten."""
        if ticket.kept:
            self._allowance.settle(ticket.nbytes, nbytes)
        self._miss(ticket)

    def labelled(self, request_id: str, truth: int) -> Remembered | None:
        """The sample that a late label is for, if it is remembered; its memory takes note."""
        with self._lock:
            return self.memory.label(request_id, truth)

    def disagreement(self) -> Disagreement:
        """How often edge and cloud differ, so far."""
        with self._lock:
            return self._tally.estimate()

    def _miss(self, ticket: Ticket) -> None:
        with self._lock:
            self._tally.missing += ticket.kept
            self.seconds.add(math.inf, ticket.weight)
            self.bytes.add(ticket.nbytes, ticket.weight)
