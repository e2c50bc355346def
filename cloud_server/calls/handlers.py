"""Threads that answer calls in order of a hall: where calls come through somebody else's server."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

from cloud_server.calls.hall import Hall


class Handlers(ThreadPoolExecutor):
    """``most`` threads at most, and at any time no more at work than the hall lets in."""

    def __init__(self, most: int, hall: Hall[Any]) -> None:
        super().__init__(most, "inference")
        self._hall = hall

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self._hall.enter((future, partial(fn, *args, **kwargs))):
            super().submit(self._work)
        return future

    def _work(self) -> None:
        while call := self._hall.leave():
            future, answer = call
            try:
                future.set_result(answer())
            except BaseException as error:  # noqa: BLE001 - it is the future's
                future.set_exception(error)
