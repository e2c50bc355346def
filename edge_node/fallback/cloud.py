"""The cloud's answer for samples that the edge is not sure of. It may fail; it never raises.

What is sent has the consent of the circuit breaker, the forecast, the budget and a free slot, in this
order. Our own server says with every answer which model gave it, since a server can be replaced while
no call is under way to break.
"""

import math
import time
from dataclasses import dataclass
from functools import partial
from threading import Timer
from types import TracebackType
from typing import Any, Self

import grpc

from edge_node.config import Cloud
from edge_node.errors import ModelMismatch
from edge_node.fallback import answer, retry
from edge_node.fallback.breaker import Breaker, State
from edge_node.fallback.deferral import Budget, Deferral, Done, NoBudget, Outcome
from edge_node.fallback.forecast import Forecast
from edge_node.fallback.prober import Prober
from edge_node.fallback.slots import Slots
from edge_node.handshake import expected_model, require_digest
from edge_node.meters.answers import Answers
from edge_node.metrics import Meter
from protos import codec
from protos.artifact import Artifact
from protos.codec import Tensor
from protos.result import Reason

Status = grpc.StatusCode

REASONS = {
    Status.DEADLINE_EXCEEDED: Reason.CLOUD_TIMEOUT,
    Status.UNAVAILABLE: Reason.CLOUD_UNREACHABLE,
    Status.CANCELLED: Reason.CLOUD_UNREACHABLE,  # by a server that stops, or as its connection is given up
    Status.RESOURCE_EXHAUSTED: Reason.CLOUD_SATURATED,
}
"""gRPC status -> reason of the result; every other status is a ``CLOUD_ERROR``."""
FAULTS = {Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.RESOURCE_EXHAUSTED, Status.INTERNAL}
"""What the breaker counts as a failure. Any other refusal is the sample's fault, or the settings'."""
GONE = {Status.NOT_FOUND, Status.UNIMPLEMENTED, Status.UNAUTHENTICATED, Status.PERMISSION_DENIED}
"""The server is not the one that proved itself, or we are to it no more who we were."""
DOUBTFUL = {Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.CANCELLED}
"""The server may be gone."""


@dataclass(slots=True)
class Call:
    """One deferral on the line, through all its attempts."""

    deferral: Deferral
    done: Done
    permit: int
    size: int
    """Bytes of its payload."""
    started: float
    request: bytes = b""
    attempts: int = 0
    attempted: float = 0.0
    """When the present attempt began."""

    @property
    def spare(self) -> bool:
        """It yields to others."""
        return self.deferral.audit or self.deferral.held

    def outcome(self, reason: Reason, error: str | None = None) -> Outcome:
        """A failure of this call."""
        seconds = time.monotonic() - self.started
        return Outcome(reason, seconds=seconds, error=error, sent=self.attempts * self.size)


class CloudFallback:
    """Answers over gRPC, with a deadline a sample and a bounded number of calls in flight."""

    def __init__(
        self, settings: Cloud, artifact: Artifact, meter: Meter, budget: Budget | None = None
    ) -> None:
        self._settings, self._artifact, self._meter = settings, artifact, meter
        self._model = expected_model(settings, artifact)
        self._breaker, self._forecast, self._budget = Breaker(), Forecast(), budget or NoBudget()
        self._slots, self._retries = Slots(settings.max_inflight), retry.RetryBudget()
        self._prober = Prober(settings, artifact, self._breaker, self._forecast)
        self._answers = Answers(meter)
        self._quiet_until = 0.0
        self._yielding: Any = None
        """The call in the spare slot."""
        self._draining = False
        meter.circuit_state.set_function(lambda: self._breaker.state)

    def __enter__(self) -> Self:
        """Look for the cloud once; ``ModelMismatch`` if another model is there than the artifact names."""
        self._prober.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._prober.stop()

    @property
    def blocked(self) -> bool:
        """Nothing or next to nothing is sent, whatever the gate decides: the circuit is not closed."""
        return self._breaker.state is not State.CLOSED

    def drain(self) -> None:
        """As ``Fallback.drain``; every call ends by its deadline, and what nobody waits for is cancelled."""
        self._slots.drain(spare=False)
        self._draining = True
        if self._yielding:
            self._yielding.cancel()
        self._slots.drain(spare=True)

    def submit(self, deferral: Deferral, done: Done) -> None:
        """As ``Fallback.submit``; a failure is an outcome with a reason."""
        permit = self._breaker.admit()
        if permit is None:
            return done(Outcome(Reason.CIRCUIT_OPEN, error=self._prober.trouble))
        call = Call(deferral, done, permit, _size(deferral.payload), time.monotonic())
        if refusal := self._refusal(call):
            self._breaker.unused(permit)
            return done(Outcome(refusal))
        self._meter.in_flight.inc()
        tensors = {self._prober.route.input_name: deferral.payload}
        call.request = codec.request(self._model, tensors, request_id=deferral.request_id).SerializeToString()
        return self._attempt(call)

    def _refusal(self, call: Call) -> Reason | None:
        """Why it is not sent; if it is, it has a slot and is charged to the budget."""
        left = call.deferral.deadline - call.started
        if left <= 0 or not self._forecast.hopeful(call.size, left):
            return Reason.CLOUD_TIMEOUT
        if call.started < self._quiet_until:
            return Reason.CLOUD_SATURATED
        if not (call.deferral.audit or self._budget.take(call.size)):
            return Reason.BUDGET_EXHAUSTED
        if not (self._slots.take_spare() if call.spare else self._slots.take(left * call.deferral.patient)):
            self._settle(call, 0)
            return Reason.CLOUD_SATURATED
        if not self._breaker.valid(call.permit):  # it has opened while we waited for the slot
            self._slots.give(spare=call.spare)
            self._settle(call, 0)
            return Reason.CIRCUIT_OPEN
        return None

    def _attempt(self, call: Call) -> None:
        call.attempts += 1
        call.attempted = time.monotonic()
        self._meter.sent.inc(call.size)
        timeout = max(0.0, call.deferral.deadline - call.attempted)
        try:
            future = self._prober.route.line.send(call.request, call.deferral.request_id, timeout)
        except ValueError as error:  # the connection was given up this very moment
            self._conclude(call, call.outcome(Reason.CLOUD_UNREACHABLE, str(error)))
        else:
            if call.spare:
                self._yielding = future
            future.add_done_callback(partial(self._ended, call))

    def _ended(self, call: Call, future: Any) -> None:
        status, outcome = self._verdict(call, future)
        self._learn(call, status, outcome)
        if status is Status.RESOURCE_EXHAUSTED:
            self._heed(retry.pushback(future))
        if not (status is Status.UNAVAILABLE and self._again(call, future)):
            self._conclude(call, outcome)

    def _verdict(self, call: Call, future: Any) -> tuple[grpc.StatusCode, Outcome]:
        """The outcome of an attempt, and its status as the breaker is to see it."""
        if (status := future.code()) is not Status.OK:
            error = f"{status.name}: {future.details()}"
            return status, call.outcome(REASONS.get(status, Reason.CLOUD_ERROR), error)
        response = future.result()
        self._meter.received.inc(len(response))
        try:
            parsed = answer.parse(response)
            facts = answer.facts(parsed)
            require_digest(self._settings, self._artifact, facts)
            class_index, confidence = answer.read(parsed, len(self._artifact.manifest.labels))
        except ModelMismatch as error:
            return Status.NOT_FOUND, call.outcome(Reason.CLOUD_ERROR, str(error))
        except answer.NoAnswer as error:
            return Status.INTERNAL, call.outcome(Reason.CLOUD_ERROR, str(error))
        self._answers.heard(facts, time.monotonic() - call.attempted, confidence)
        seconds, sent = time.monotonic() - call.started, call.attempts * call.size
        return status, Outcome(Reason.CLOUD, class_index, confidence, seconds, None, sent, len(response))

    def _learn(self, call: Call, status: grpc.StatusCode, outcome: Outcome) -> None:
        """Tell whom it concerns how an attempt ended; nobody, if the circuit has turned meanwhile."""
        if not self._breaker.valid(call.permit):
            return
        had, took = call.deferral.deadline - call.attempted, time.monotonic() - call.attempted
        if status is Status.OK:
            self._forecast.answered(call.size, had, took)
            self._retries.succeeded()
        elif status is Status.DEADLINE_EXCEEDED:
            self._forecast.missed(call.size, had)
        self._tell_breaker(call.permit, status, str(outcome.error))

    def _tell_breaker(self, permit: int, status: grpc.StatusCode, error: str) -> None:
        if status in GONE or (status in FAULTS and self._breaker.failed(permit)):
            self._prober.lose(error)
        elif status is Status.CANCELLED:
            self._breaker.unused(permit)
        elif status not in FAULTS and self._breaker.succeeded(permit):
            self._prober.trust()
        if status in DOUBTFUL:
            self._prober.doubt()
            self._meter.unrest.set()

    def _heed(self, pushback: float | None) -> None:
        """Send nothing for as long as the server asked."""
        if pushback is not None and math.isfinite(pushback):
            self._quiet_until = time.monotonic() + min(pushback, retry.LONGEST_PUSHBACK)

    def _again(self, call: Call, future: Any) -> bool:
        """Whether another attempt will be made, in time and at nobody's expense."""
        if self._draining or not (self._retries.failed() and self._breaker.valid(call.permit)):
            return False
        wait = retry.retry_wait(call.attempts, future)
        left = call.deferral.deadline - time.monotonic() - wait
        if left <= 0 or not self._forecast.hopeful(call.size, left):
            return False
        self._meter.cloud_retries.inc()
        Timer(wait, self._attempt, [call]).start()
        return True

    def _conclude(self, call: Call, outcome: Outcome) -> None:
        self._meter.stage["cloud"].observe(time.monotonic() - call.started)
        self._settle(call, outcome.sent + outcome.received)
        try:
            call.done(outcome)
        finally:
            self._meter.in_flight.dec()
            self._slots.give(spare=call.spare)

    def _settle(self, call: Call, used: int) -> None:
        if not call.deferral.audit:
            self._budget.settle(call.size, used)


def _size(payload: Tensor) -> int:
    """Bytes of a tensor on the line."""
    if payload.dtype.hasobject:
        return sum(4 + len(item) for item in payload.flat)
    return payload.nbytes
