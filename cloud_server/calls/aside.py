"""Calls that must neither wait behind inference nor take a thread from it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any

from cloud_server.calls.exchange import NO_MESSAGE, Behave, Exchange


def aside(behave: Callable[..., Any], pool: ThreadPoolExecutor) -> Callable[..., Any]:
    """The same behaviour, run by ``pool``."""

    @wraps(behave)
    def call(*args: Any) -> Any:
        return behave(*args)

    call.experimental_thread_pool = pool  # type: ignore[attr-defined] # grpc's way to say it
    return call


class Aside:
    """Takes a method's calls for its pool once the message is here: nobody waits for who sends none."""

    def __init__(self, behave: Behave) -> None:
        """As ``aside`` has made it."""
        self._behave = behave
        self._pool: ThreadPoolExecutor = behave.experimental_thread_pool  # type: ignore[attr-defined]

    def begin(self, call: Exchange) -> None:
        """Wait for its message."""
        call.receive(self._received)

    def _received(self, call: Exchange, message: bytes | None) -> None:
        if message is None:
            call.refuse(*NO_MESSAGE)
        else:
            self._pool.submit(call.answer, self._behave, message)
