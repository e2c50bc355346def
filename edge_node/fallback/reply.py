"""How a request ended that had no call of its own: as much of a ``grpc.Future`` as is asked of one."""

from collections.abc import Callable
from threading import Lock
from typing import Any

import grpc

Status = grpc.StatusCode
Metadata = tuple[tuple[str, str], ...]


class Reply:
    """Ends once; its facts count from then on."""

    def __init__(self, request: bytes, deadline: float) -> None:
        """``deadline`` on the monotonic clock."""
        self.request, self.deadline = request, deadline
        self._facts: tuple[Status, str, bytes, Metadata] = (Status.UNKNOWN, "it has not ended", b"", ())
        self._ended = False
        self._callback: Callable[[Any], None] | None = None
        self._lock = Lock()

    def code(self) -> Status:
        return self._facts[0]

    def details(self) -> str:
        return self._facts[1]

    def result(self) -> bytes:
        return self._facts[2]

    def trailing_metadata(self) -> Metadata:
        return self._facts[3]

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """To be called at the end, or now if that has been."""
        with self._lock:
            self._callback = callback
            if not self._ended:
                return
        callback(self)

    def cancel(self) -> None:
        """Nobody waits any more."""
        self.end(Status.CANCELLED, "cancelled")

    def follow(self, call: Any) -> None:
        """End as a call does that has taken the request over."""
        call.add_done_callback(self._adopt)

    def end(self, code: Status, details: str, result: bytes = b"", metadata: Metadata = ()) -> None:
        """The first word counts."""
        with self._lock:
            if self._ended:
                return
            self._ended, self._facts, callback = True, (code, details, result, metadata), self._callback
        if callback:
            callback(self)

    def _adopt(self, call: Any) -> None:
        result = call.result() if call.code() is Status.OK else b""
        self.end(call.code(), call.details(), result, tuple(call.trailing_metadata() or ()))
