"""The cloud's answer for samples that the edge is not sure of. It may fail; it never raises.

A server is used only once it has shown that it runs the model which the artifact names. It has to
show it again after every broken connection: what comes back may be another server. Ours says with
every answer which model gave it, since a server can be replaced while no call is under way to break.
"""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import BoundedSemaphore, Event, Thread
from types import TracebackType
from typing import Any, Protocol, Self

import grpc
import numpy as np
from google.protobuf.message import DecodeError

from edge_node.config import Cloud
from edge_node.errors import ModelMismatch
from edge_node.gate.confidence import softmax_top
from edge_node.handshake import expected_model, open_channel, require_digest, verify
from edge_node.metrics import Meter
from protos import codec
from protos import inference_pb2 as pb
from protos.artifact import Artifact
from protos.codec import Tensor
from protos.result import Reason

FIRST_LOOK = 2.0
"""Seconds to wait for the cloud at start; a node starts without it, too."""
PROBE_EVERY = (0.1, 5.0)
"""Seconds between looks for a lost cloud: at first, and at most."""
METHOD = "/inference.GRPCInferenceService/ModelInfer"

REASONS = {
    grpc.StatusCode.DEADLINE_EXCEEDED: Reason.CLOUD_TIMEOUT,
    grpc.StatusCode.UNAVAILABLE: Reason.CLOUD_UNREACHABLE,
    grpc.StatusCode.CANCELLED: Reason.CLOUD_UNREACHABLE,  # by a server that stops: we cancel nothing
    grpc.StatusCode.RESOURCE_EXHAUSTED: Reason.CLOUD_SATURATED,
}
"""gRPC status -> reason of the result; every other status is a ``CLOUD_ERROR``."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an offload ended: the cloud's answer, or the reason why there is none."""

    reason: Reason
    class_index: int = 0
    confidence: float = 0.0
    seconds: float | None = None
    """From sending to the end; ``None`` if nothing was sent."""
    error: str | None = None


Done = Callable[[Outcome], None]


@dataclass(frozen=True, slots=True)
class Deferral:
    """A sample on its way to the cloud."""

    request_id: str
    payload: Tensor
    deadline: float
    """Latest moment of an answer, on the monotonic clock."""
    patient: bool
    """Wait for a free slot, rather than be answered at once that all are taken."""


class Fallback(Protocol):
    """Answers deferred samples somewhere else."""

    def submit(self, deferral: Deferral, done: Done) -> None:
        """Call ``done`` exactly once, by the deadline, on this or another thread."""

    def drain(self) -> None:
        """Wait until every ``done`` has been called; submit nothing more."""


class NoFallback:
    """A node without a cloud: the edge answers as best it can."""

    def submit(self, deferral: Deferral, done: Done) -> None:  # noqa: ARG002 - nothing is sent
        """Say at once that nobody else is there."""
        done(Outcome(Reason.EDGE_ONLY))

    def drain(self) -> None:
        """Nothing is ever under way."""


class CloudFallback:
    """Answers over gRPC, with a deadline a sample and a bounded number of calls in flight."""

    def __init__(self, settings: Cloud, artifact: Artifact, meter: Meter) -> None:
        self._settings, self._artifact, self._meter = settings, artifact, meter
        self._model = expected_model(settings, artifact)
        self._channel = open_channel(settings)
        self._infer: Any = self._channel.unary_unary(METHOD)  # bytes in and out: they are counted
        self._slots = BoundedSemaphore(settings.max_inflight)
        self._input: str | None = None
        self._trouble = Outcome(Reason.CLOUD_UNREACHABLE)
        self._lost, self._closing = Event(), Event()
        self._prober = Thread(target=self._probe, name="cloud-probe", daemon=True)

    def __enter__(self) -> Self:
        """Look for the cloud once; ``ModelMismatch`` if another model is there than the artifact names."""
        try:
            self._look(FIRST_LOOK)
        except ModelMismatch:
            self._channel.close()
            raise
        self._prober.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._lost.set()
        self._prober.join()
        self._channel.close()

    def drain(self) -> None:
        """As ``Fallback.drain``; every call ends by its deadline."""
        for _ in range(self._settings.max_inflight):
            self._slots.acquire()

    def submit(self, deferral: Deferral, done: Done) -> None:
        """As ``Fallback.submit``; a failure is an outcome with a reason."""
        name = self._input
        if name is None:
            return done(self._trouble)
        left = deferral.deadline - time.monotonic()
        if left <= 0:
            return done(Outcome(Reason.CLOUD_TIMEOUT))
        if not self._slots.acquire(timeout=left if deferral.patient else 0):
            return done(Outcome(Reason.CLOUD_SATURATED))
        return self._send(name, deferral, done)

    def _send(self, name: str, deferral: Deferral, done: Done) -> None:
        request = codec.request(self._model, {name: deferral.payload}, request_id=deferral.request_id)
        self._meter.in_flight.inc()
        self._meter.sent.inc(len(request.raw_input_contents[0]))
        started = time.monotonic()
        call = self._infer.future(request.SerializeToString(), timeout=max(0.0, deferral.deadline - started))
        call.add_done_callback(partial(self._ended, started, done))

    def _ended(self, started: float, done: Done, call: Any) -> None:
        try:
            done(self._outcome(call, time.monotonic() - started))
        finally:
            self._meter.in_flight.dec()
            self._slots.release()

    def _outcome(self, call: Any, seconds: float) -> Outcome:
        self._meter.stage["cloud"].observe(seconds)
        if (status := call.code()) is grpc.StatusCode.OK:
            return self._checked(call, seconds)
        reason = REASONS.get(status, Reason.CLOUD_ERROR)
        outcome = Outcome(reason, seconds=seconds, error=f"{status.name}: {call.details()}")
        if reason is Reason.CLOUD_UNREACHABLE:
            self._lose(outcome)
        return outcome

    def _checked(self, call: Any, seconds: float) -> Outcome:
        try:
            require_digest(self._settings, self._artifact, call)
        except ModelMismatch as error:
            outcome = Outcome(Reason.CLOUD_ERROR, seconds=seconds, error=str(error))
            self._lose(outcome)
            return outcome
        return self._answer(call.result(), seconds)

    def _answer(self, payload: bytes, seconds: float) -> Outcome:
        """The answer in a response, which may be anybody's bytes."""
        self._meter.received.inc(len(payload))
        try:
            tensors = codec.response_tensors(pb.ModelInferResponse.FromString(payload))
        except (DecodeError, codec.CodecError) as error:
            return Outcome(Reason.CLOUD_ERROR, seconds=seconds, error=f"malformed response: {error}")
        classes = len(self._artifact.manifest.labels)
        logits = next(iter(tensors.values()), np.empty(0))
        if logits.shape != (1, classes) or logits.dtype.kind != "f":
            problem = f"the cloud answered {logits.dtype} {list(logits.shape)}, not [1, {classes}] logits"
            return Outcome(Reason.CLOUD_ERROR, seconds=seconds, error=problem)
        with np.errstate(over="ignore"):  # of a float64: an infinity, which is refused
            class_index, confidence = softmax_top(logits[0].astype(np.float32))
        if not confidence:
            return Outcome(Reason.CLOUD_ERROR, seconds=seconds, error="the cloud answered NaN or infinity")
        return Outcome(Reason.CLOUD, class_index, confidence, seconds)

    def _look(self, timeout: float) -> bool:
        """Whether the cloud is there with the right model. ``ModelMismatch`` if it has another."""
        try:
            self._input = verify(self._channel, self._settings, self._artifact, timeout)
        except grpc.RpcError as error:
            self._lose(Outcome(REASONS.get(error.code(), Reason.CLOUD_ERROR), error=error.details()))
            return False
        log.info("cloud %s serves %s", self._settings.target, self._model)
        return True

    def _lose(self, outcome: Outcome) -> None:
        """Send nothing until the prober has found the cloud again; say so once for each new trouble."""
        if self._input is not None or outcome.error != self._trouble.error:
            log.warning("cloud %s is lost (%s): %s", self._settings.target, outcome.reason, outcome.error)
        self._input, self._trouble = None, Outcome(outcome.reason, error=outcome.error)
        self._lost.set()

    def _probe(self) -> None:
        """Look for a lost cloud, ever more rarely, with full jitter."""
        first, most = PROBE_EVERY
        while not self._closing.is_set():
            self._lost.wait()
            wait = first
            while not self._closing.wait(random.uniform(0, wait)):  # noqa: S311 - no secret
                if self._found():
                    break
                wait = min(2 * wait, most)

    def _found(self) -> bool:
        self._lost.clear()
        try:
            return self._look(FIRST_LOOK)
        except ModelMismatch as error:
            self._lose(Outcome(Reason.CLOUD_ERROR, error=str(error)))
            return False
