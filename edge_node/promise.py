"""A promise: a provisional result and the input that its final one needs, as the outbox holds them."""

import time
from collections.abc import Sequence

import msgspec

from edge_node.fallback.deferral import Outcome
from edge_node.outbox import Held
from protos import codec
from protos import inference_pb2 as pb
from protos.codec import Tensor
from protos.result import Answer, Reason, Result


class Promise(msgspec.Struct, frozen=True):
    """A held input, and all that its final result needs."""

    provisional: Result
    started: float
    """Capture by the monotonic clock of its boot."""
    request: bytes
    """The payload, as a ``ModelInferRequest`` of one nameless tensor."""

    def payload(self) -> Tensor:
        """What the cloud is to get."""
        return codec.request_tensors(pb.ModelInferRequest.FromString(self.request))[""]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Promise)


def hold(provisional: Result, started: float, payload: Tensor) -> Held:
    """What the outbox is to keep beside a provisional result."""
    request = codec.request("", {"": payload}).SerializeToString()
    promise = _ENCODER.encode(Promise(provisional, started, request))
    return Held(provisional.id, provisional.confidence or 0.0, promise)


def read(held: Held) -> Promise:
    """The promise that is held."""
    return _DECODER.decode(held.payload)


def final(provisional: Result, outcome: Outcome, labels: Sequence[str], started: float) -> Result:
    """The final result, not yet numbered: the cloud's answer, or the edge's with the reason for it.

    After a reboot ``started`` means nothing: the latency then is no less than what is known.
    """
    total = max(provisional.latency_ms.total, round((time.monotonic() - started) * 1e3, 3))
    seconds = None if outcome.seconds is None else round(outcome.seconds * 1e3, 3)
    final = msgspec.structs.replace(
        provisional,
        state="final",
        reason=outcome.reason,
        latency_ms=msgspec.structs.replace(provisional.latency_ms, cloud=seconds, total=total),
        error=outcome.error,
    )
    if outcome.reason is not Reason.CLOUD:
        return final
    answer = Answer(label=labels[outcome.class_index], confidence=round(outcome.confidence, 6))
    return msgspec.structs.replace(
        final,
        route="cloud",
        label=answer.label,
        class_index=outcome.class_index,
        confidence=answer.confidence,
        cloud=answer,
    )
