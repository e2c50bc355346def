"""Questions and answers between two processes of ours, over a pair of connected sockets."""

import logging
from collections.abc import Callable
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any

from cloud_server.errors import CloudError

Behave = Callable[..., Any]
"""Gives the answer to a question: its name and what belongs to it. A ``CloudError`` is an answer, too."""

log = logging.getLogger(__name__)


class Line:
    """The end that asks, one question at a time. Thread-safe."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, Lock()

    def ask(self, question: str, *about: Any, patience: float | None = None) -> Any:
        """The answer; the ``CloudError`` that it is.

        ``EOFError`` or ``OSError`` if nobody is there any more, ``TimeoutError`` if nobody answers within
        so many seconds: then the line is of no use any more.
        """
        with self._lock:
            self._connection.send((question, about))
            if not self._connection.poll(patience):
                raise TimeoutError
            answer, error = self._connection.recv()
        if error:
            raise _rebuilt(*error)
        return answer


def answer(connection: Connection, behave: Behave) -> None:
    """Wait for one question, and answer it. ``EOFError`` or ``OSError`` if nobody is there any more."""
    question, about = connection.recv()
    told: tuple[Any, Any]
    try:
        told = behave(question, *about), None
    except CloudError as error:
        told = None, (type(error), error.args, error.__dict__)
    except Exception as error:  # a mistake of ours must not leave who asked without an answer
        log.exception("internal error")
        told = None, (CloudError, (f"internal error: {error}",), {})
    connection.send(told)


def _rebuilt(kind: type[CloudError], args: tuple[Any, ...], facts: dict[str, Any]) -> CloudError:
    """An error as it was, whatever its kind is made of."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error
