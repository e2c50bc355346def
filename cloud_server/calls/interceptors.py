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
from cloud_server.calls.singles import Answer
from cloud_server.errors import Unauthenticated
from cloud_server.metrics import Called, Inside, Meter
from cloud_server.refusal import refusal

Behave = Callable[[Any, grpc.ServicerContext], Message]
Parse = Callable[[bytes], Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"  # generic only to the type checker

Who = Callable[[grpc.ServicerContext], Caller]
"""``Unauthenticated`` if nobody knows."""

INFER, STREAM = (f"/inference.GRPCInferenceService/{name}" for name in (door.METHOD, streaming.METHOD))
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
        if method == INFER and (full := self._door.closed()):
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
        guarded = _guarded(
            handler.unary_unary, _checked(handler.request_deserializer), who, lambda _left: None
        )
        answer = _entered(self._meter.inside, _counted(self._meter, _name(method), guarded))
        pool = getattr(handler.unary_unary, "experimental_thread_pool", self._aside)
        return grpc.unary_unary_rpc_method_handler(aside(answer, pool))

    def single(self, behave: Behave) -> Answer:
        """Answers a call of ``ModelInfer`` as ``behave`` does, bytes in and out."""
        guarded = _guarded(behave, reading.read, self._login.of_grpc, self._door.hear)
        return _counted(self._meter, _name(INFER), guarded)


def _name(method: str) -> str:
    return method.rpartition("/")[2]


def _nobody(_: grpc.ServicerContext) -> Caller:
    return NOBODY


def _counted(meter: Meter, method: str, answer: Answer) -> Answer:
    def counted(request: bytes, context: grpc.ServicerContext) -> bytes:
        start, response = time.perf_counter(), b""
        try:
            response = answer(request, context)
        finally:
            meter.request_of(method, _code(context)).inc()
            meter.called(Called(method, len(request), len(response), time.perf_counter() - start))
        return response

    return counted


def _entered(inside: Inside, answer: Answer) -> Answer:
    def entered(request: bytes, context: grpc.ServicerContext) -> bytes:
        with inside:
            return answer(request, context)

    return entered


def _guarded(behave: Behave, parse: Parse, who: Who, hear: Callable[[float], object]) -> Answer:
    """Find out who asks, parse, answer, serialise.

    Parsing is done here, so that garbage is the caller's error and not ours.
    """

    def guarded(request: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            with Acting(who(context)):
                hear(context.time_remaining())
                response: bytes = behave(parse(request), context).SerializeToString()
        except Exception as error:  # noqa: BLE001 - nothing but a status leaves the server
            context.set_trailing_metadata(door.trailer(error))
            context.abort(*refusal(error))
        return response

    return guarded


def _checked(parse: Parse) -> Parse:
    def read(message: bytes) -> Any:
        reading.check(message)
        return parse(message)

    return read


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


def _code(context: Any) -> str:
    """The status so far; a caller that has gone away, or whose deadline passed, gets none."""
    code: grpc.StatusCode | None = context.code()
    if code is None:
        code = grpc.StatusCode.OK if context.is_active() else grpc.StatusCode.CANCELLED
    return code.name
