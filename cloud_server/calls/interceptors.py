"""What every unary call passes through, as bytes: counted outside, errors turned into a status inside.

Streams of inference do the same for each of their messages (``streaming.py``); others only have their caller
found out and their requests parsed here, as gRPC would log garbage and call it INTERNAL.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from cloud_server.access.callers import NOBODY, OPEN, Acting, Caller, Login
from cloud_server.calls import door, reading, streaming
from cloud_server.calls.aside import aside
from cloud_server.calls.door import Door
from cloud_server.calls.singles import Answer, Who
from cloud_server.errors import Unauthenticated
from cloud_server.metrics import Called, Inside, Meter
from cloud_server.refusal import refusal

Behave = Callable[[Any, grpc.ServicerContext], Message]
Infer = Callable[[reading.Request, grpc.ServicerContext, float], bytes]
"""With the seconds that its caller waits."""
Parse = Callable[[bytes], Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"  # generic only to the type checker

INFER, STREAM = (f"/inference.GRPCInferenceService/{name}" for name in (door.METHOD, streaming.METHOD))
OK, CANCELLED = grpc.StatusCode.OK.name, grpc.StatusCode.CANCELLED.name
UNKNOWN = "unknown"
"""Label of every method that we do not have: a caller cannot make series."""


class Interceptor(grpc.ServerInterceptor):
    """Finds out who calls, counts every unary call, and turns what it raises into a status.

    Inference comes in by the door. All else has a thread of its own: who asks whether we are alive does not
    wait in line.
    """

    def __init__(self, meter: Meter, login: Login, at: Door) -> None:
        self._meter, self._login, self._door = meter, login, at
        self._aside = ThreadPoolExecutor(1, "questions")
        self._handlers: dict[str, Handler] = {}

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        method = handler_call_details.method
        if method == INFER and (full := self._door.closed(None)):
            return door.refuse(full)
        if method not in self._handlers:
            handler = continuation(handler_call_details)
            if handler is None:
                self._meter.request_of(UNKNOWN, grpc.StatusCode.UNIMPLEMENTED.name).inc()
                return None
            self._handlers[method] = self.around(method, handler)
        return self._handlers[method]

    def around(self, method: str, handler: Any) -> Handler:
        """What answers a call of the method as ``handler`` does, bytes in and out."""
        if method == STREAM:
            raw: Handler = streaming.raw(handler)
            return raw
        who = _nobody if method in OPEN else self._login.of_grpc
        if handler.unary_unary is None:
            return _parsed(handler, who)
        if method == INFER:
            return grpc.unary_unary_rpc_method_handler(self.single(handler.unary_unary))
        parsed = _serialised(handler.unary_unary, handler.request_deserializer)
        answer = _entered(self._meter.inside, self._unary(method, who, parsed))
        pool = getattr(handler.unary_unary, "experimental_thread_pool", self._aside)
        return grpc.unary_unary_rpc_method_handler(aside(answer, pool))

    def single(self, infer: Infer, who: Who | None = None) -> Answer:
        """Answers a call of ``ModelInfer`` as ``infer`` does: of a message, or of what was found in it."""
        hear = self._door.hear

        def single(message: Any, context: grpc.ServicerContext) -> bytes:
            hear(left := context.time_remaining())
            return infer(reading.found(message), context, left)

        return self._unary(INFER, who or self._login.of_grpc, single)

    def _unary(self, method: str, who: Who, answer: Answer) -> Answer:
        """The same, counted, and for whoever calls; what it raises becomes a status."""
        meter, name = self._meter, method.rpartition("/")[2]
        if self._login.required:
            answer = _acting(who, answer)

        def unary(message: Any, context: Any) -> bytes:
            start, code, response = time.perf_counter(), OK, b""
            try:
                response = answer(message, context)
                told = context.code()
                code = told.name if told else OK if context.is_active() else CANCELLED
            except Exception as error:  # noqa: BLE001 - nothing but a status leaves the server
                status, details = refusal(error)
                code = status.name
                context.set_trailing_metadata(door.trailer(error))
                context.abort(status, details)
            finally:
                meter.request_of(name, code).inc()
                meter.called(Called(name, len(message), len(response), time.perf_counter() - start))
            return response

        return unary


def _nobody(_: grpc.ServicerContext) -> Caller:
    return NOBODY


def _entered(inside: Inside, answer: Answer) -> Answer:
    def entered(request: bytes, context: grpc.ServicerContext) -> bytes:
        with inside:
            return answer(request, context)

    return entered


def _acting(who: Who, answer: Answer) -> Answer:
    def acting(message: bytes, context: grpc.ServicerContext) -> bytes:
        with Acting(who(context)):
            return answer(message, context)

    return acting


def _serialised(behave: Behave, parse: Parse) -> Answer:
    """Parsing is done here, so that garbage is the caller's error and not ours."""

    def serialised(message: bytes, context: grpc.ServicerContext) -> bytes:
        reading.check(message)
        return behave(parse(message), context).SerializeToString()

    return serialised


def _parsed(handler: Any, who: Who) -> Handler:
    """Health watches and reflection: garbage ends the call."""
    parse, serialise = handler.request_deserializer, handler.response_serializer

    def read(request: bytes, context: grpc.ServicerContext) -> Any:
        try:
            return parse(request)
        except DecodeError as error:
            context.abort(*refusal(error))

    if handler.request_streaming:

        @wraps(handler.stream_stream)
        def answers(requests: Iterator[bytes], context: grpc.ServicerContext) -> Any:
            try:
                who(context)
            except Unauthenticated as error:
                context.abort(*refusal(error))
            return handler.stream_stream((read(request, context) for request in requests), context)

        return grpc.stream_stream_rpc_method_handler(answers, response_serializer=serialise)

    @wraps(handler.unary_stream)
    def watched(request: bytes, context: grpc.ServicerContext, *more: Any) -> Any:
        return handler.unary_stream(read(request, context), context, *more)

    return grpc.unary_stream_rpc_method_handler(watched, response_serializer=serialise)
