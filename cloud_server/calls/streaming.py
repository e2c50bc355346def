"""Triton's streams: one open call, many requests, each answered before the next is read.

Who wants requests to run side by side opens several. What runs at once is bounded where all skins meet.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Any

import grpc

from cloud_server.access.callers import NOBODY, Acting, Caller, Login
from cloud_server.calls import door, reading, writing
from cloud_server.calls.exchange import Exchange
from cloud_server.calls.reading import Request
from cloud_server.errors import Full, RequestError
from cloud_server.metrics import Called, Meter
from cloud_server.refusal import refusal
from cloud_server.room import Room

METHOD = "ModelStreamInfer"
CLOSING = grpc.StatusCode.UNAVAILABLE, "this server is stopping"
OK = grpc.StatusCode.OK.name
MOST = 128
"""Streams open at once; any other is refused at once, but for a fair part of whoever has few."""

Context = Any
"""``grpc.ServicerContext``, or an ``Exchange``."""
Infer = Callable[[Request, Context], bytes]
"""Answers one request, with a ``ModelStreamInferResponse``."""


class Streams:
    """Serves ``ModelStreamInfer``, bytes in and out: garbage is an answer's error, and the stream goes on."""

    def __init__(self, infer: Infer, meter: Meter, login: Login) -> None:
        self._infer, self._meter, self._login = infer, meter, login
        self._room, self._closing = Room(MOST), False
        self._idle = dict[Context, Callable[[], object]]()
        self._lock = Lock()
        meter.under_way.append(self)
        self.experimental_thread_pool = ThreadPoolExecutor(2 * MOST + 1, "stream")  # grpc's name for it

    def __len__(self) -> int:
        """Requests that have come and are not answered yet."""
        return self._room.inside - len(self._idle)

    def begin(self, call: Exchange) -> None:
        """Responses in the order of the requests; it ends when what its caller has shown expires."""
        try:
            caller = self._enter(call)
        except RequestError as error:
            call.refuse(*refusal(error))
        else:
            self._go_on(caller, call)

    def _received(self, caller: Caller, call: Exchange, message: bytes | None) -> None:
        if not self._wakes(call):
            return
        if message is None:
            self._end(caller, call)
            return
        try:
            response = self._answer(message, caller, call)
        except BaseException as error:
            self._room.leave(caller.identity)
            if not isinstance(error, RequestError):
                raise
            call.refuse(*refusal(error))
        else:
            self._go_on(caller, call, response)

    def _go_on(self, caller: Caller, call: Exchange, response: bytes | None = None) -> None:
        if self._rests(call, partial(self._close, caller, call)):
            call.receive(partial(self._received, caller), response)
        else:
            self._end(caller, call, response)

    def _end(self, caller: Caller, call: Exchange, response: bytes | None = None) -> None:
        self._room.leave(caller.identity)
        call.finish(response)

    def _close(self, caller: Caller, call: Exchange) -> None:
        self._room.leave(caller.identity)
        call.refuse(*CLOSING)

    def __call__(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        """The same in a thread of grpcio's."""
        try:
            caller = self._enter(context)
        except RequestError as error:
            context.abort(*refusal(error))
        try:
            while self._rests(context, context.cancel) and (message := next(requests, None)) is not None:
                self._wakes(context)
                yield self._answer(message, caller, context)
        except RequestError as error:
            context.abort(*refusal(error))
        finally:
            self._wakes(context)
            self._room.leave(caller.identity)

    def close(self) -> None:
        """What is being answered still is; then every stream ends."""
        with self._lock:
            self._closing = True
            idle, self._idle = self._idle, {}
        for end in idle.values():
            end()
        self.experimental_thread_pool.shutdown(wait=False)

    def _enter(self, call: Context) -> Caller:
        caller = self._login.of_grpc(call)
        if self._room.full(caller.identity):
            self._meter.shed_by["streams"].inc()
            raise Full(f"{self._room.inside} streams are open: send single calls")
        self._room.enter(caller.identity)
        return caller

    def _rests(self, call: Context, end: Callable[[], object]) -> bool:
        """Whether it may wait for its next request, until which ``end`` ends it."""
        with self._lock:
            if not self._closing:
                self._idle[call] = end
            return not self._closing

    def _wakes(self, call: Context) -> bool:
        """Whether it has rested until now; else it has ended."""
        with self._lock:
            return self._idle.pop(call, None) is not None

    def _answer(self, message: bytes, caller: Caller, context: Context) -> bytes:
        """``Unauthenticated`` ends the stream; whatever else goes wrong is an answer."""
        if caller is NOBODY:
            return self._counted(message, context)
        self._login.require_current(caller)
        with Acting(caller):
            return self._counted(message, context)

    def _counted(self, message: bytes, context: Context) -> bytes:
        start, code, request = time.perf_counter(), OK, None
        try:
            request = reading.read(message)
            response = self._infer(request, context)
        except Exception as error:  # noqa: BLE001 - nothing but a status leaves the server
            status, details = refusal(error)
            of = request.id_field if request else reading.id_field(message)
            code, response = status.name, writing.refused(of, status, details, dict(door.trailer(error)))
        self._meter.request_of(METHOD, code).inc()
        self._meter.called(Called(METHOD, len(message), len(response), time.perf_counter() - start))
        return response


def raw(handler: Any) -> Any:
    """The same, without a parser before it."""
    return grpc.stream_stream_rpc_method_handler(handler.stream_stream)
