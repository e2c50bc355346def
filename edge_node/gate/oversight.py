"""What watches over the gate while it works: the pace, the benefit, the audit, the certificate's standing.

The gate says how sure the edge is; here is decided what follows from it, and learnt from what came of it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import NamedTuple, Protocol

from edge_node.fallback import Outcome
from edge_node.gate.audit import Audit, Ticket
from edge_node.gate.benefit import Benefit
from edge_node.gate.budget import Controller
from edge_node.gate.confidence import Decision
from edge_node.gate.standing import Standing, Uncertified
from protos.result import Reason

KEEP_EVERY = 100
"""Answers of the cloud from one saving of the standing to the next."""


class Ruling(NamedTuple):
    """What is to be done with a sample that the edge has answered."""

    reason: Reason | None
    """Why the edge's answer is the result; ``None``: ask the cloud first."""
    ticket: Ticket | None
    """Ask the cloud, and say here what came of it; ``None``: do not ask."""


class Pace(Protocol):
    """The threshold in force."""

    @property
    def threshold(self) -> float:
        """Score from which the edge is trusted now."""

    def accepts(self, decision: Decision, nbytes: int) -> bool:
        """Whether the edge answers for a sample that would take so many bytes."""


@dataclass(frozen=True, slots=True)
class Uncontrolled:
    """The gate's own threshold."""

    threshold: float

    def accepts(self, decision: Decision, nbytes: int) -> bool:  # noqa: ARG002 - as Pace
        """As the gate said."""
        return decision.accepted


@dataclass(frozen=True, slots=True)
class Certified:
    """The threshold that the certificate's standing allows."""

    standing: Standing

    @property
    def threshold(self) -> float:
        """As certified, or stricter after an alarm."""
        return self.standing.threshold

    def accepts(self, decision: Decision, nbytes: int) -> bool:  # noqa: ARG002 - as Pace
        """Whether its score is safe to keep."""
        return decision.score >= self.standing.threshold


@dataclass(frozen=True, slots=True)
class Paced:
    """The threshold that a budget can pay for, reconciled with the certificate's."""

    controller: Controller

    @property
    def threshold(self) -> float:
        """Where the controller has it now."""
        return self.controller.threshold

    def accepts(self, decision: Decision, nbytes: int) -> bool:
        """As the controller says; it takes note."""
        return self.controller.accepts(decision.score, nbytes)


class Oversight:
    """Rules on every sample, and learns from every answer of the cloud. Thread-safe."""

    def __init__(
        self, pace: Pace, audit: Audit, standing: Standing | Uncertified, benefit: Benefit | None = None
    ) -> None:
        self.pace, self.audit, self.standing, self.benefit = pace, audit, standing, benefit
        self._keep: Callable[[], None] = lambda: None
        self._lock, self._learnt, self._turns = Lock(), 0, standing.turns

    def keep(self, save: Callable[[], None]) -> None:
        """Call this whenever the standing has learnt what should survive a crash; one call at a time."""
        self._keep = save

    def rule(self, request_id: str, decision: Decision, nbytes: int) -> Ruling:
        """What to do with a sample whose offload would take ``nbytes`` of payload."""
        score, edge = decision.score, decision.class_index
        reason = self._reason(request_id, decision, nbytes)
        if reason is None:
            return Ruling(None, self.audit.deferred(request_id, score, edge, nbytes))
        self.standing.served(None if reason is Reason.CONFIDENT else reason)
        return Ruling(reason, self.audit.kept(request_id, score, edge, nbytes))

    def _reason(self, request_id: str, decision: Decision, nbytes: int) -> Reason | None:
        """Why the edge answers; what is safe to keep is not sent for nothing because the budget has room."""
        if self.pace.accepts(decision, nbytes):
            return Reason.CONFIDENT if self._safe(decision) else Reason.BUDGET_EXHAUSTED
        if self.benefit is None or self.benefit.pays(request_id, decision.score):
            return None
        return Reason.CONFIDENT if self._safe(decision) else Reason.NO_GAIN

    def _safe(self, decision: Decision) -> bool:
        """Whether the certificate, or else the gate, would keep it, had the budget no say."""
        if isinstance(self.standing, Standing):
            return decision.score >= self.standing.threshold
        return decision.accepted

    def learn(self, ticket: Ticket, outcome: Outcome) -> None:
        """What came of asking the cloud."""
        used = outcome.sent + outcome.received
        if answered := outcome.reason is Reason.CLOUD:
            self.audit.heard(ticket, outcome.class_index, outcome.seconds or 0.0, used)
        else:
            self.audit.lost(ticket, used)
        if not ticket.kept:
            self.standing.served(None if answered else outcome.reason)
        if self.benefit and answered:
            differs = outcome.class_index != ticket.edge
            self.benefit.answered(ticket.score, differs=differs, at=time.monotonic())
        self._note()

    def label(self, request_id: str, truth: int) -> bool:
        """A late label; whether the sample is one that both models have answered, and remembered."""
        sample = self.audit.labelled(request_id, truth)
        if sample is None:
            return False
        self.standing.labelled(sample, truth)
        if self.benefit:
            self.benefit.labelled(sample.score, sample.gain(truth), sample.at)
        self._note()
        return True

    def _note(self) -> None:
        """Count anew once the certificate has been withdrawn or restored; see to it that this is kept."""
        with self._lock:
            self._learnt += 1
            before, self._turns = self._turns, self.standing.turns
            if turned := self._turns != before:
                self.audit.restart()
            if turned or self._learnt % KEEP_EVERY == 0:
                self._keep()
