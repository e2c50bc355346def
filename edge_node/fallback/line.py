"""The way a request takes on a channel: the open stream if the cloud has one and it is free, else a call."""

import math
import time
from collections.abc import Callable
from threading import Condition, Thread
from typing import Any

import grpc

from edge_node.fallback import stream
from edge_node.fallback.reply import Reply
from edge_node.fallback.stream import Stream

METHOD = "/inference.GRPCInferenceService/ModelInfer"

Status = grpc.StatusCode
DECLINED = {Status.UNIMPLEMENTED, Status.RESOURCE_EXHAUSTED}
"""How a stream ends that the cloud does not have, or not for us: then a call may still be answered."""


class Line:
    """Requests to a cloud, as bytes both ways, since they are counted."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._call: Any = channel.unary_unary(METHOD)
        self._method: Any = channel.stream_stream(stream.METHOD)
        self._changed = Condition()
        self._settled = self._streams = self._closed = False
        self._stream: Stream | None = None
        self._last: Reply | None = None
        """What the stream was asked last: all before it has ended."""
        self._wakes = math.inf
        """When somebody looks at deadlines next."""

    def settle(self, has_streams: Callable[[], bool]) -> None:
        """Find out, once, whether the cloud has streams; if so, one is open before the first request."""
        if self._settled:
            return
        self._settled = True
        if not has_streams():
            return
        with self._changed:
            if not self._closed:
                self._streams = True
                self._stream = Stream(self._method, self._ended)
                Thread(target=self._watch, name="cloud-deadlines", daemon=True).start()

    def close(self) -> None:
        """No stream any more; what it owes ends as unavailable."""
        with self._changed:
            opened, self._stream, self._closed, self._streams = self._stream, None, True, False
            self._changed.notify()
        if opened:
            opened.close()

    def send(self, request: bytes, name: str, timeout: float) -> Any:
        """A ``grpc.Future`` or what is like one; ``ValueError`` if the channel is closed."""
        return self._streamed(request, name, timeout) or self._call.future(request, timeout=timeout)

    def _streamed(self, request: bytes, name: str, timeout: float) -> Reply | None:
        if not self._streams:
            return None
        reply = Reply(request, time.monotonic() + timeout)
        with self._changed:
            if self._streams and self._stream is None:
                self._stream = Stream(self._method, self._ended)
            if not (self._stream and self._stream.send(request, name, reply)):
                return None
            self._last = reply
            if reply.deadline < self._wakes:
                self._wakes = reply.deadline
                self._changed.notify()
        return reply

    def _ended(self, ended: Stream, owed: Reply | None, status: Status, details: str) -> None:
        """One that the cloud declined, or that failed the first who asked, is the last on this channel."""
        with self._changed:
            if self._stream is ended:
                self._stream = None
            if status in DECLINED or (owed and not ended.answered):
                self._streams = False
        if owed is None:
            return
        if status in DECLINED or status is Status.UNAUTHENTICATED:  # the token that opened it has expired
            self._instead(owed)
        else:
            owed.end(Status.UNAVAILABLE, f"{status.name}: {details}")

    def _instead(self, reply: Reply) -> None:
        """A call for a request that the stream did not take."""
        try:
            reply.follow(
                self._call.future(reply.request, timeout=max(0.0, reply.deadline - time.monotonic()))
            )
        except ValueError as error:  # the channel was closed this very moment
            reply.end(Status.UNAVAILABLE, str(error))

    def _watch(self) -> None:
        """End what is late. Sleeping through what has ended in time spares waking up for each request."""
        while True:
            with self._changed:
                if self._closed:
                    return
                if (left := self._wakes - time.monotonic()) > 0:
                    self._changed.wait(None if math.isinf(left) else left)
                    continue
                last = self._last
                late = last is not None and last.deadline <= self._wakes
                self._wakes = math.inf if late or last is None else last.deadline
            if late and last:
                last.end(Status.DEADLINE_EXCEEDED, "Deadline Exceeded")
