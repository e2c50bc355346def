"""Who is let in: refusing has to be cheap, for it is done most when there is least time for it.

A call that would wait for too long is refused before it is read, by the thread that takes calls off the
wire: no other thread hears of it, and of its bytes no more come than were on the way.
"""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from math import ceil, inf
from typing import Any

import grpc

from cloud_server.backoff import pause
from cloud_server.errors import Full, Overloaded
from cloud_server.metrics import Meter
from cloud_server.refusal import refusal
from cloud_server.room import Room

SHARE = 0.5
"""Waiting may take so much of the time that callers have."""
SEEN = 63
"""The last so many callers say how much that is,"""
OFTEN = 16
"""each time that so many more have come."""
METHOD = "ModelInfer"
PUSHBACK = "grpc-retry-pushback-ms"


class Door:
    """Of the ``room``; a ``few`` always find it open."""

    def __init__(self, room: Room, few: int, meter: Meter) -> None:
        self._room, self._few, self._meter = room, few, meter
        self._left = deque[float](maxlen=SEEN)
        self._heard, self._patience = 0, inf

    def hear(self, left: float) -> None:
        """A caller has so many seconds left; infinite without a deadline."""
        self._left.append(left)
        self._heard += 1
        if self._heard % OFTEN == 0 or self._heard < OFTEN:
            seen = sorted(self._left.copy())
            self._patience = seen[len(seen) // 2]

    def closed(self, who: str | None) -> Full | None:
        """Why one more call of theirs is not let in, which counts as refused with that."""
        room = self._room
        if room.inside < self._few:
            return None
        wait = room.wait(who)
        if not room.full(who) and wait <= SHARE * self._patience:
            return None
        self._meter.shed_by["queue"].inc()
        full = Full(f"{room.inside} requests are waiting", pause(wait))
        self.refused(full)
        return full

    def refused(self, error: Exception) -> None:
        """Count a call that is not let in."""
        self._meter.request_of(METHOD, refusal(error)[0].name).inc()


def trailer(error: Exception) -> tuple[tuple[str, str], ...]:
    """Metadata that say when to ask again, where that is known."""
    pushback = error.pushback if isinstance(error, Overloaded) else None
    return () if pushback is None else ((PUSHBACK, str(ceil(1000 * pushback))),)


def refuse(error: Exception) -> "grpc.RpcMethodHandler[Any, Any]":
    """A handler that does not read what it answers: a stream need not be read, a single call would be."""

    def abort(_requests: object, context: grpc.ServicerContext) -> None:
        context.set_trailing_metadata(trailer(error))
        context.abort(*refusal(error))

    abort.experimental_thread_pool = _HERE  # type: ignore[attr-defined] # grpc's way to say it
    return grpc.stream_stream_rpc_method_handler(abort)


class _Here(ThreadPoolExecutor):
    """No pool at all."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


_HERE = _Here(1)
