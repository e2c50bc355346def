"""Calls that must neither wait behind inference nor take a thread from it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any


def aside(behave: Callable[..., Any], pool: ThreadPoolExecutor) -> Callable[..., Any]:
    """The same behaviour, run by ``pool``."""

    @wraps(behave)
    def call(*args: Any) -> Any:
        return behave(*args)

    call.experimental_thread_pool = pool  # type: ignore[attr-defined] # grpc's way to say it
    return call
