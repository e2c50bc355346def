"""Threads that answer calls which come through somebody else's server."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from cloud_server.room import Room


class Handlers(ThreadPoolExecutor):
    """``most`` threads at most; what waits for one is in the ``room``, too."""

    def __init__(self, most: int, room: Room) -> None:
        super().__init__(most, "inference")
        self._room, self._calls = room, set[Future[Any]]()

    def __len__(self) -> int:
        """Calls that have come and are not answered yet."""
        return len(self._calls)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._room.enter(None)
        future = super().submit(fn, *args, **kwargs)
        self._calls.add(future)
        future.add_done_callback(self._leave)
        return future

    def _leave(self, call: Future[Any]) -> None:
        self._calls.discard(call)
        self._room.leave(None)
