"""Triton's streams: one open call for many requests, which saves each of them what a call costs.

A server may answer a stream's requests one after another, so that here it has one at a time. Nor has a
request in a stream a deadline or a status of its own: they are kept for it.
"""

import logging
import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from edge_node.fallback.answer import facts
from edge_node.fallback.reply import Reply
from protos import inference_pb2 as pb

METHOD = "/inference.GRPCInferenceService/ModelStreamInfer"
TIMEOUT = "timeout"
"""Parameter of a request: microseconds until nobody waits for its answer."""

Status = grpc.StatusCode
STATUS = {it.name: it for it in Status if it is not Status.OK}

log = logging.getLogger(__name__)


class Stream:
    """One open call, until it ends; ``ended`` is told of itself then, and of the reply that it still owes."""

    def __init__(self, method: Any, ended: "Callable[[Stream, Reply | None, Status, str], None]") -> None:
        self.answered = False
        self._ended = ended
        self._lock = Lock()
        self._sent = 0
        self._awaited: tuple[str, Reply] | None = None
        """What is on the line, even if nobody waits for it any more."""
        self._over = False
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        self._call = method(iter(self._requests.get, None))
        Thread(target=self._read, name="cloud-stream", daemon=True).start()

    def send(self, request: bytes, name: str, reply: Reply) -> bool:
        """Whether the stream was free, and now has this request for a reply."""
        with self._lock:
            if self._over or self._awaited:
                return False
            self._sent += 1
            request_id = f"{name}#{self._sent}"
            self._awaited = request_id, reply
        self._requests.put(request + _addition(request_id, reply.deadline - time.monotonic()))
        return True

    def close(self) -> None:
        """What is under way ends."""
        self._requests.put(None)
        self._call.cancel()

    def _read(self) -> None:
        status, details = Status.UNAVAILABLE, "the cloud has ended the stream"
        try:
            for message in self._call:
                self._take(message)
        except grpc.RpcError as error:
            status, details = error.code(), error.details() or details
        except NotOurs:
            status, details = Status.UNIMPLEMENTED, "no answer to what was asked"
        self.close()
        with self._lock:
            self._over = True
            owed = self._awaited[1] if self._awaited else None
        self._ended(self, owed, status, details)

    def _take(self, message: bytes) -> None:
        answer = _parsed(message)
        name = answer.infer_response.id
        with self._lock:
            if not (self._awaited and (name == self._awaited[0] or (answer.error_message and not name))):
                raise NotOurs
            reply, self._awaited, self.answered = self._awaited[1], None, True
        try:
            _end(reply, answer)
        except Exception:
            log.exception("what waits for the cloud's answer failed")


class NotOurs(Exception):
    """An answer to nothing that was asked: what there is, is no such stream."""


def _parsed(message: bytes) -> pb.ModelStreamInferResponse:
    try:
        return pb.ModelStreamInferResponse.FromString(message)
    except DecodeError:
        raise NotOurs from None


def _addition(request_id: str, seconds: float) -> bytes:
    """What, put behind a serialised request, replaces its id and says until when it is of use."""
    addition = pb.ModelInferRequest(id=request_id)
    addition.parameters[TIMEOUT].int64_param = max(1, int(1e6 * seconds))
    return addition.SerializeToString()


def _end(reply: Reply, answer: pb.ModelStreamInferResponse) -> None:
    """An answer that is late has nobody to hear it."""
    response = answer.infer_response
    if not answer.error_message:
        return reply.end(Status.OK, "", response.SerializeToString())
    said = tuple(facts(response).items())
    name, _, details = answer.error_message.partition(": ")
    if name in STATUS:  # as our own server words it
        return reply.end(STATUS[name], details, b"", said)
    return reply.end(Status.UNKNOWN, answer.error_message, b"", said)
