"""Results on their way out: to standard output, nowhere, or to the broker (``broker.publisher``)."""

import sys
from collections.abc import Hashable
from threading import Event
from typing import Protocol

from edge_node.outbox import Held
from protos import result as contract
from protos.result import Result


class Publisher(Protocol):
    """Takes results."""

    def publish(
        self, result: Result, *, place: Hashable = None, hold: Held | None = None, release: str | None = None
    ) -> None:
        """Accept a result, from any thread, without waiting for anybody.

        Together with it: the place of its sample is finished, an input is held, or let go by its id.
        """


class NoPublisher:
    """For who takes results from ``EdgeNode.infer`` and nowhere else."""

    def publish(
        self, result: Result, *, place: Hashable = None, hold: Held | None = None, release: str | None = None
    ) -> None:
        """Forget it."""


class StdoutPublisher:
    """A JSON line a result on standard output."""

    def __init__(self, stop: Event) -> None:
        self._stop = stop

    def publish(
        self,
        result: Result,
        *,
        place: Hashable = None,  # noqa: ARG002 - nothing is kept here
        hold: Held | None = None,  # noqa: ARG002
        release: str | None = None,  # noqa: ARG002
    ) -> None:
        """Write and flush, since the reader may be a pipe; a closed pipe stops the node."""
        try:
            sys.stdout.buffer.write(contract.encode(result) + b"\n")
            sys.stdout.buffer.flush()
        except BrokenPipeError:
            self._stop.set()
