"""One node's gate on a stream of logits: certificate, budget, audit, alarm and benefit, and no network."""

from collections import deque
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from edge_node.fallback import Outcome
from edge_node.gate import scores
from edge_node.gate.audit import Audit, Ticket, selected
from edge_node.gate.benefit import Benefit
from edge_node.gate.budget import Controller, Mode, Quantiles, ShareTarget, Together
from edge_node.gate.certificate import Certificate
from edge_node.gate.confidence import Decision
from edge_node.gate.ground import Ground, OnAlarm
from edge_node.gate.oversight import Oversight, Paced
from edge_node.gate.standing import Standing
from protos.result import Reason
from tests.benchmarks.certificate.bank import Bank

LATE = 500
"""Inputs after which a label comes, where labels come."""


@dataclass(frozen=True)
class Settings:
    """How the node is run."""

    budget: float
    """Share of the inputs that may be offloaded, audits apart."""
    audited: float = 0.02
    """Share of the stream that is watched."""
    labelled: float = 0.0
    """Share of the samples that the cloud has answered whose label comes, late."""
    mode: Mode = Mode.BUDGET_CAP
    policy: OnAlarm = OnAlarm.STRICTER


@dataclass(frozen=True)
class Inputs:
    """What the gate sees of a stream, a row an input."""

    scores: NDArray[np.float64]
    edge: NDArray[np.int64]
    cloud: NDArray[np.int64]
    labels: NDArray[np.int64]
    bytes: NDArray[np.int64]

    @classmethod
    def of(cls, bank: Bank, certificate: Certificate) -> "Inputs":
        score = scores.make(certificate.score, certificate.temperature)
        return cls(score(bank.edge), bank.edge.argmax(1), bank.cloud.argmax(1), bank.labels, bank.bytes)

    def take(self, rows: NDArray[np.int64]) -> "Inputs":
        return Inputs(*(getattr(self, field.name)[rows] for field in fields(self)))

    def then(self, others: "Inputs") -> "Inputs":
        """One stream after another."""
        pairs = ((getattr(self, it.name), getattr(others, it.name)) for it in fields(self))
        return Inputs(*map(np.concatenate, pairs))

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def edge_right(self) -> NDArray[np.bool_]:
        return np.asarray(self.edge == self.labels)

    @property
    def cloud_right(self) -> NDArray[np.bool_]:
        return np.asarray(self.cloud == self.labels)

    @property
    def gains(self) -> NDArray[np.float64]:
        """1 where only the cloud is right, -1 where only the edge is, else 0."""
        return self.cloud_right.astype(np.float64) - self.edge_right


@dataclass(frozen=True)
class Replay:
    """What became of a stream, input by input."""

    offloaded: NDArray[np.bool_]
    audited: NDArray[np.bool_]
    withdrawn: int | None
    """Inputs from the drift until the certificate fell."""
    audits: int
    """Watched samples of the kind that is certified to be kept, from the drift until then."""
    published: float
    """Audits to detect that the node had published when the drift began."""
    false_alarm: bool
    """It had fallen before."""
    stopped: int | None
    """Labels until offloading of what the certificate defers was first stopped, for it gains too little."""


class Gate:
    """The gate of one node as the node puts it together, before a cloud that always answers."""

    def __init__(self, certificate: Certificate, settings: Settings, key: bytes) -> None:
        self.standing = Standing(certificate, settings.policy)
        controller = Controller(
            [ShareTarget(settings.budget)],
            Quantiles(certificate.quantiles),
            lambda: self.standing.threshold,
            settings.mode,
        )
        audit = Audit(key, settings.audited, Together(), self.standing)
        self.oversight = Oversight(Paced(controller), audit, self.standing, Benefit.of(key, certificate))
        self._key, self._labelled = key, settings.labelled
        self._late: deque[tuple[int, str, int]] = deque()
        self.labels = 0

    @property
    def stopped(self) -> bool:
        """Whether what the certificate defers is not worth sending."""
        return self.oversight.benefit is not None and self.oversight.benefit.bins[0].stopped

    def pass_through(self, at: int, inputs: Inputs) -> Ticket | None:
        """The ticket of an input that goes to the cloud, as deferral or as audit; labels that are due."""
        name, nbytes = str(at), int(inputs.bytes[at])
        decision = Decision(int(inputs.edge[at]), 0.0, float(inputs.scores[at]), accepted=False)
        _, ticket = self.oversight.rule(name, decision, nbytes)
        if ticket is not None:
            answer = Outcome(Reason.CLOUD, class_index=int(inputs.cloud[at]), seconds=0.0, sent=nbytes)
            self.oversight.learn(ticket, answer)
            if selected(self._key, f"label {name}", self._labelled):
                self._late.append((at + LATE, name, int(inputs.labels[at])))
        while self._late and self._late[0][0] <= at:
            self.labels += self.oversight.label(*self._late.popleft()[1:])
        return ticket


def replayed(
    certificate: Certificate, inputs: Inputs, drift_at: int, settings: Settings, key: bytes
) -> Replay:
    """Run the gate over a stream that drifts at input number ``drift_at``."""
    gate = Gate(certificate, settings, key)
    offloaded, audited = np.zeros(len(inputs), bool), np.zeros(len(inputs), bool)
    withdrawn, audits, published, early, stopped, labels = None, 0, 0.0, False, None, 0
    for at in range(len(inputs)):
        if at == drift_at:
            published, early = gate.standing.audits_to_detect, gate.standing.ground is not Ground.VALID
            labels = gate.labels
        ticket = gate.pass_through(at, inputs)
        if ticket is not None:
            audited[at], offloaded[at] = ticket.kept, not ticket.kept
            if withdrawn is None and at >= drift_at and ticket.selected:
                audits += ticket.score >= certificate.threshold
        if withdrawn is None and at >= drift_at and gate.standing.ground in (Ground.DRIFT, Ground.LABELS):
            withdrawn = at - drift_at
        if stopped is None and at >= drift_at and gate.stopped:
            stopped = gate.labels - labels
    return Replay(offloaded, audited, withdrawn, audits, published, early, stopped)
