"""Inference calls answered by the thread that takes them off the wire.

In grpcio's own server one thread takes everything off the wire and hands it to others that wait: eight
changes of threads for a single call, which cost more than a small model does. Here every thread takes what
comes and does what is to be done. What is not begun here goes grpcio's way, through the same threads.

There is no public way to do so: what is imported here is what grpcio's own server is made of.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]
from grpc._server import _process_event_and_continue, _request_call, _request_registered_call, _ServerStage

from cloud_server.calls.exchange import NOTHING, Exchange, Happened
from cloud_server.calls.lookout import Lookout

log = logging.getLogger(__name__)

Begin = Callable[[Exchange], object]
"""Takes a call that has come, and does not wait for anything."""


class Polling:
    """Threads in place of the one that ``server.start()`` would start."""

    def __init__(self, server: grpc.Server, threads: int, begin: Callable[[str, Any], Begin | None]) -> None:
        """``threads``: as many at most look for long. ``begin``: what takes a method's calls, by its handler.

        ``AttributeError`` if the server is made otherwise than we know; it can still start.
        """
        state: Any = server._state  # type: ignore[attr-defined] # noqa: SLF001 - see above
        self._queue, self._state = state.completion_queue, state
        self._handlers: dict[str, Any] = {}
        self._own: dict[str, tuple[Any, Begin]] = {}
        for method, handler in state.registered_method_handlers.items():
            if act := begin(method, handler):
                self._own[method] = partial(self._came, method), act
            else:
                self._handlers[method] = handler
        self.lookout = Lookout(self._look, threads)

    def start(self) -> None:
        """Let the server answer, until it is stopped."""
        state = self._state
        with state.lock:
            state.server.start()
            state.stage = _ServerStage.STARTED
            state.registered_method_handlers = self._handlers
            for method in self._handlers:
                _request_registered_call(state, method)
            _request_call(state)
            for method, (came, _) in self._own.items():
                state.rpc_states.add(came)  # as long as one can come the server has not stopped
                state.server.request_registered_call(self._queue, self._queue, method, came)
        self.lookout.start()

    def _came(self, method: str, event: Any) -> Happened:
        state, (came, begin) = self._state, self._own[method]
        if not event.success:
            return came, ()
        with state.lock:
            more = state.stage is _ServerStage.STARTED
            if more:
                state.server.request_registered_call(self._queue, self._queue, method, came)
            call = Exchange(event, self.lookout)
            state.rpc_states.add(call)
        call.attempt(begin)
        return NOTHING if more else (came, ())

    def _look(self) -> None:
        """Until there is nothing more to come, or there are others enough."""
        lookout = self.lookout
        while not (lookout.looking > lookout.wanted and lookout.crowded()):
            event = self._queue.poll()
            if event.completion_type == cygrpc.CompletionType.queue_shutdown:
                self.lookout.end()
                return
            try:
                if not _process_event_and_continue(self._state, event):
                    self._queue.shutdown()
            except Exception:  # one call's: the others go on
                log.exception("a call was lost")
            del event  # or it would hold its call while we wait for the next
