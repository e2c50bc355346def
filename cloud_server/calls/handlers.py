"""Threads that answer calls in order of a hall: where calls come through somebody else's server."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from cloud_server.calls.hall import Hall

Waiting = tuple[Future[Any], Callable[[], Any]]
"""What is to hear of an answer, and what gives it."""


class Handlers(ThreadPoolExecutor):
    """``most`` threads at most, and at any time no more at work than the hall lets in."""

    def __init__(self, most: int, hall: Hall[Any]) -> None:
        super().__init__(most, "inference")
        self._hall = hall

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if first := self._hall.enter((future, partial(fn, *args, **kwargs))):
            super().submit(self._work, first)
        return future

    def _work(self, call: Waiting | None) -> None:
        while call:
            future, answer = call
            try:
                future.set_result(answer())
            except BaseException as error:  # noqa: BLE001 - it is the future's
                future.set_exception(error)
            call = self._hall.leave()
