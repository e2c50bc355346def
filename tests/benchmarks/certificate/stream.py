"""One node's gate on a stream of logits: certificate, budget, audit, alarm and benefit, and no network."""

from collections import deque
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from edge_node.gate import scores
from edge_node.gate.audit import Audit, Ticket, selected
from edge_node.gate.benefit import Benefit
from edge_node.gate.budget import Controller, Mode, Quantiles, ShareTarget, Unlimited
from edge_node.gate.certificate import Certificate
from edge_node.gate.standing import Ground, OnAlarm, Standing
from tests.benchmarks.certificate.bank import Bank

BINS = 4
"""Of the deferred scores: so finely the benefit is told apart."""
LATE = 500
"""Inputs after which a label comes, where labels come."""


@dataclass(frozen=True)
class Settings:
    """How the node is run."""

    budget: float
    """Share of the inputs that may be offloaded, audits apart."""
    audited: float
    """Share of the stream that is watched."""
    labelled: float = 0.0
    """Share of the samples that the cloud has answered whose label comes, late."""
    policy: OnAlarm = OnAlarm.STRICTER
    mode: Mode = Mode.BUDGET_FIRST


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
        return self.edge == self.labels

    @property
    def cloud_right(self) -> NDArray[np.bool_]:
        return self.cloud == self.labels

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


class Gate:
    """The gate of one node, put together as the node does, with clouds that always answer."""

    def __init__(self, certificate: Certificate, cert: Inputs, settings: Settings, key: bytes) -> None:
        self.standing = Standing(certificate, settings.policy)
        self.controller = Controller(
            ShareTarget(settings.budget),
            Quantiles(certificate.quantiles),
            lambda: self.standing.threshold,
            settings.mode,
        )
        self.audit = Audit(key, settings.audited, Unlimited(), self.standing)
        self.benefit = benefit(key, certificate, cert)
        self._key, self._labelled = key, settings.labelled
        self._late: deque[tuple[int, str, int]] = deque()

    def decide(self, at: int, inputs: Inputs) -> Ticket | None:
        """The ticket of an input that goes to the cloud, as deferral or as audit; its label may come later."""
        name, score, nbytes = str(at), float(inputs.scores[at]), int(inputs.bytes[at])
        says, answer = int(inputs.edge[at]), int(inputs.cloud[at])
        ticket: Ticket | None
        if self.controller.accepts(score, nbytes) or not self.benefit.pays(name, score):
            ticket = self.audit.kept(name, score, says, nbytes)
        else:
            ticket = self.audit.deferred(name, score, says, nbytes)
            self.benefit.answered(score, differs=says != answer)
        if ticket is not None:
            self.audit.heard(ticket, answer, 0.0, nbytes)
            if selected(self._key, f"label {name}", self._labelled):
                self._late.append((at + LATE, name, int(inputs.labels[at])))
        self.standing.served(unserved=False)
        return ticket

    def labels(self, at: int) -> None:
        """Hand over the labels that are due."""
        while self._late and self._late[0][0] <= at:
            _, name, truth = self._late.popleft()
            if (sample := self.audit.labelled(name, truth)) is not None:
                self.standing.labelled(sample, truth)
                if not sample.kept:
                    self.benefit.labelled(sample.score, sample.gain(truth))


def replayed(
    certificate: Certificate, cert: Inputs, inputs: Inputs, drift_at: int, settings: Settings, seed: int
) -> Replay:
    """Run the gate over a stream that drifts at input number ``drift_at``."""
    gate = Gate(certificate, cert, settings, seed.to_bytes(16))
    offloaded, audited = np.zeros(len(inputs), bool), np.zeros(len(inputs), bool)
    withdrawn, audits, published = None, 0, 0.0
    for at in range(len(inputs)):
        if at == drift_at:
            published = gate.standing.audits_to_detect
        ticket = gate.decide(at, inputs)
        if ticket is not None:
            audited[at], offloaded[at] = ticket.kept, not ticket.kept
            if withdrawn is None and at >= drift_at and ticket.selected:
                audits += ticket.score >= certificate.threshold
        gate.labels(at)
        if withdrawn is None and gate.standing.ground in (Ground.DRIFT, Ground.LABELS):
            withdrawn = at - drift_at
    return Replay(offloaded, audited, withdrawn, audits, published)


def benefit(key: bytes, certificate: Certificate, cert: Inputs) -> Benefit:
    """As CERT shows it: bins of equal number among what the certificate defers."""
    deferred = cert.take(np.flatnonzero(cert.scores < certificate.threshold))
    edges = np.quantile(deferred.scores, np.arange(1, BINS) / BINS)
    member = np.digitize(deferred.scores, edges)
    return Benefit(key, edges.tolist(), [float(deferred.gains[member == it].mean()) for it in range(BINS)])
