"""The hot path: sample -> tensor -> logits -> decision -> outcome -> result.

Everything else is a plug with one method. One sample, one result: whatever fails is an outcome
with a reason, and it is counted here, once.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import count
from threading import Lock
from typing import Literal

import msgspec

from edge_node.courier import Courier
from edge_node.errors import SampleError
from edge_node.fallback import Deferral, Fallback, Outcome
from edge_node.gate.audit import Ticket
from edge_node.gate.confidence import ConfidenceGate, Decision
from edge_node.gate.oversight import Oversight
from edge_node.identity import Identity
from edge_node.metrics import Meter
from edge_node.model import EdgeModel
from edge_node.preprocess import Preprocess, codec_of, payload, payload_bytes
from edge_node.promise import final
from edge_node.publisher import Publisher
from edge_node.sample import Sample
from protos import result as contract
from protos.codec import Tensor
from protos.result import Answer, Latency, Reason, Result

UNSURE = Decision(0, 0.0, math.nan, accepted=False)
"""What the edge makes of a sample that it could not read."""
AUDIT_DEADLINE = 10.0
"""Seconds that an audit may take: nobody waits for it, and a slow answer is worth knowing."""


@dataclass(frozen=True, slots=True)
class Passage:
    """One sample under way, and what the edge made of it."""

    sample: Sample
    id: str
    decision: Decision
    edge_seconds: float
    deliver: Callable[[Result], None] | None


@dataclass(frozen=True)
class Pipeline:
    """The path of a sample through one node."""

    identity: Identity
    preprocess: Preprocess
    model: EdgeModel
    gate: ConfidenceGate
    oversight: Oversight
    fallback: Fallback
    publisher: Publisher
    meter: Meter
    deadline: float
    """Seconds from capture within which the cloud may answer."""
    courier: Courier | None = None
    """Lets the edge's answer out at once and brings the cloud's later; ``None``: wait for the cloud."""
    first_seq: int = 0
    """Number of the first result: the count goes on where the last session of this node left it."""
    _samples: Iterator[int] = field(default_factory=count)
    _turn: Lock = field(default_factory=Lock)

    def process(
        self, sample: Sample, deliver: Callable[[Result], None] | None = None, *, patient: bool = False
    ) -> None:
        """Give one sample its one result: published, and handed to ``deliver``, on this or another thread.

        ``patient``: wait for a free slot to the cloud. Never raises for a sample's sake.
        """
        started = time.monotonic()
        result_id = self.identity.result_id(next(self._samples))
        self.meter.sample()
        try:
            tensor = self.preprocess(sample)
            prepared = time.monotonic()
            decision = self.gate.decide(self.model.predict(tensor))
        except SampleError as error:
            passage = Passage(sample, result_id, UNSURE, time.monotonic() - started, deliver)
            return self._finish(passage, Outcome(Reason.INVALID_SAMPLE, error=str(error)))
        decided = time.monotonic()
        nbytes = payload_bytes(sample, tensor, self.model.artifact.manifest)
        elapsed = decided - sample.started
        self.meter.edge(decision.confidence, prepared - started, decided - prepared, elapsed, nbytes)
        passage = Passage(sample, result_id, decision, decided - started, deliver)
        reason, ticket = self.oversight.rule(result_id, decision, nbytes)
        if reason:
            self._finish(passage, Outcome(reason))
        if ticket:
            self._ask(passage, tensor, ticket, patient=patient)
        return None

    def _ask(self, passage: Passage, tensor: Tensor, ticket: Ticket, *, patient: bool) -> None:
        """Ask the cloud: for the result, or as an audit of one that is already out."""
        sample, manifest = passage.sample, self.model.artifact.manifest
        self.oversight.standing.sent(codec_of(manifest, encoded=isinstance(sample.data, bytes)))
        deferral = Deferral(
            request_id=passage.id,
            payload=payload(sample, tensor, manifest),
            deadline=sample.started + (AUDIT_DEADLINE if ticket.kept else self.deadline),
            patient=patient and not ticket.kept,
            audit=ticket.kept,
        )
        if self.courier and not ticket.kept:
            self._promise(self.courier, passage, deferral, ticket)
        else:
            self.fallback.submit(deferral, partial(self._heard, passage, ticket))

    def _promise(self, courier: Courier, passage: Passage, deferral: Deferral, ticket: Ticket) -> None:
        """Let the edge's answer out as provisional; a final result follows."""
        sample = passage.sample
        with self._turn:
            outcome = Outcome(Reason.DEFERRED)
            provisional = self._result(passage, outcome, next(self._seq), state="provisional")
            held = courier.hold(provisional, sample.started, deferral.payload)
            self.publisher.publish(provisional, place=sample.place, hold=held)
        if passage.deliver is not None:
            passage.deliver(provisional)
        courier.ask(provisional, sample.started, deferral, partial(self.oversight.learn, ticket))

    def correct(self, provisional: Result, started: float, outcome: Outcome) -> int:
        """Publish the final result of a provisional one, and let its input go; gives its number."""
        result = final(provisional, outcome, self.model.artifact.manifest.labels, started)
        with self._turn:
            seq = next(self._seq)
            numbered = msgspec.structs.replace(result, seq=seq, stream=self.identity.stream)
            self.publisher.publish(numbered, release=result.id)
        self.meter.result(result.route, outcome.reason, result.latency_ms.total / 1e3)
        return seq

    def _heard(self, passage: Passage, ticket: Ticket, outcome: Outcome) -> None:
        self.oversight.learn(ticket, outcome)
        if not ticket.kept:
            self._finish(passage, outcome)

    @cached_property
    def _seq(self) -> Iterator[int]:
        return count(self.first_seq)

    @cached_property
    def _model(self) -> contract.Model:
        manifest = self.model.artifact.manifest
        return contract.Model(
            name=manifest.name,
            version=manifest.version,
            precision=manifest.precision,
            sha256=self.model.artifact.sha256,
        )

    def _finish(self, passage: Passage, outcome: Outcome) -> None:
        with self._turn:  # the numbers are the order of publication, whichever thread brings the outcome
            result = self._result(passage, outcome, next(self._seq))
            self.publisher.publish(result, place=passage.sample.place)
        self.meter.result(result.route, outcome.reason, result.latency_ms.total / 1e3)
        if passage.deliver is not None:
            passage.deliver(result)

    def _result(
        self, passage: Passage, outcome: Outcome, seq: int, state: Literal["provisional", "final"] = "final"
    ) -> Result:
        labels = self.model.artifact.manifest.labels
        sample, decision = passage.sample, passage.decision
        readable, by_cloud = outcome.reason is not Reason.INVALID_SAMPLE, outcome.reason is Reason.CLOUD
        edge = _answer(labels, decision) if readable else None
        cloud = _answer(labels, outcome) if by_cloud else None
        final = cloud or edge
        return Result(
            id=passage.id,
            site=self.identity.node.site,
            node=self.identity.node.name,
            seq=seq,
            stream=self.identity.stream,
            sample=sample.name,
            captured_at=sample.captured_at,
            state=state,
            route="cloud" if by_cloud else "edge",
            reason=outcome.reason,
            label=final.label if final else None,
            class_index=(outcome.class_index if by_cloud else decision.class_index) if readable else None,
            confidence=final.confidence if final else None,
            edge=edge,
            cloud=cloud,
            model=self._model,
            latency_ms=Latency(
                edge=_milliseconds(passage.edge_seconds),
                cloud=None if outcome.seconds is None else _milliseconds(outcome.seconds),
                total=_milliseconds(time.monotonic() - sample.started),
            ),
            error=outcome.error,
        )


def _answer(labels: Sequence[str], said: Decision | Outcome) -> Answer:
    return Answer(label=labels[said.class_index], confidence=round(said.confidence, 6))


def _milliseconds(seconds: float) -> float:
    """Rounded to the microsecond: more digits are noise, and bytes."""
    return round(seconds * 1e3, 3)
