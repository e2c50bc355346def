"""Plugs of the pipeline that do what they are told."""

from collections.abc import Hashable
from threading import Lock

from edge_node.fallback import Deferral, Done, Outcome
from edge_node.outbox import Held
from protos.result import Result


class Kept:
    """A publisher that keeps what it is given."""

    def __init__(self) -> None:
        self.results: list[Result] = []

    def publish(
        self,
        result: Result,
        *,
        place: Hashable = None,  # noqa: ARG002 - nothing survives a test
        hold: Held | None = None,  # noqa: ARG002
        release: str | None = None,  # noqa: ARG002
    ) -> None:
        self.results.append(result)


class Always:
    """A fallback whose every outcome is the same."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    def submit(self, deferral: Deferral, done: Done) -> None:  # noqa: ARG002 - nothing is sent
        done(self.outcome)

    def drain(self) -> None:
        """Nothing is ever under way."""


class Answers:
    """A ``Done`` that keeps how often it was called, and with what."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []
        self._lock = Lock()

    def __call__(self, outcome: Outcome) -> None:
        with self._lock:
            self.outcomes.append(outcome)
