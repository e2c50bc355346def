"""Triton's streams: one open call, many requests, each answered before the next is read.

A stream takes a thread for as long as its client likes, so that it has one of its own; who wants
requests to run side by side opens several. What runs at once is bounded where all skins meet.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import grpc

from cloud_server.access.callers import Acting, Login
from cloud_server.errors import Full, RequestError
from cloud_server.inference import door, reading
from cloud_server.inference.reading import Request
from cloud_server.metrics import Called, Meter
from cloud_server.refusal import refusal
from protos import inference_pb2 as pb

METHOD = "ModelStreamInfer"
MOST = 128
"""Streams open at once; any other is refused at once."""

Infer = Callable[[Request, grpc.ServicerContext], pb.ModelInferResponse]
"""Answers one request."""


class Streams:
    """Serves ``ModelStreamInfer``, bytes in and out: garbage is an answer's error, and the stream goes on."""

    def __init__(self, infer: Infer, meter: Meter, login: Login) -> None:
        self._infer, self._meter, self._login = infer, meter, login
        self._open, self._closing = 0, False
        self._idle: set[grpc.ServicerContext] = set()
        self._lock = Lock()
        self.experimental_thread_pool = ThreadPoolExecutor(MOST + 1, "stream")  # grpc's name for it

    def __call__(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """Responses in the order of the requests; it ends when what its caller has shown expires."""
        with self._lock:
            self._open += 1
        try:
            caller = self._login.of_grpc(context)
            self._require_room()
            while (request := self._next(requests, context)) is not None:
                self._login.require_current(caller)
                with Acting(caller):
                    response = self._answer(request, context)
                yield response
        except RequestError as error:
            context.abort(*refusal(error))
        finally:
            with self._lock:
                self._open -= 1

    def _require_room(self) -> None:
        if self._open > MOST:
            self._meter.shed_by["streams"].inc()
            raise Full(f"{MOST} streams are open: send single calls")

    def close(self) -> None:
        """What is being answered still is; then every stream ends."""
        with self._lock:
            self._closing = True
            for context in self._idle:
                context.cancel()
        self.experimental_thread_pool.shutdown(wait=False)

    def _next(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes | None:
        with self._lock:
            if self._closing:
                return None
            self._idle.add(context)
        try:
            return next(requests, None)
        finally:
            with self._lock:
                self._idle.discard(context)

    def _answer(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        start, meter, code = time.perf_counter(), self._meter, grpc.StatusCode.OK
        request: Request | None = None
        with meter.inside:
            try:
                request = reading.read(message)
                answer = pb.ModelStreamInferResponse(infer_response=self._infer(request, context))
            except Exception as error:  # noqa: BLE001 - nothing but a status leaves the server
                code, reason = refusal(error)
                answer = pb.ModelStreamInferResponse(error_message=f"{code.name}: {reason}")
                answer.infer_response.id = request.own.id if request else ""
                for name, value in door.trailer(error):
                    answer.infer_response.parameters[name].string_param = value
        response = answer.SerializeToString()
        meter.request_of(METHOD, code.name).inc()
        meter.called(Called(METHOD, len(message), len(response), time.perf_counter() - start))
        return response


def raw(handler: Any) -> Any:
    """The same, without a parser before it."""
    return grpc.stream_stream_rpc_method_handler(handler.stream_stream)
