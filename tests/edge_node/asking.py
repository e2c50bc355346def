"""A cloud fallback, asked directly: whatever happens, each deferral ends exactly once."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.demo.processes import wait_until
from edge_node.config import Cloud
from edge_node.fallback import Budget, CloudFallback, Deferral, Outcome
from edge_node.metrics import Meter
from protos.artifact import Artifact
from protos.codec import Tensor
from protos.result import Reason
from tests.edge_node.clouds import HOST, numbers
from tests.fakes import Answers
from tests.nodes import PATIENCE, first_look


class Asker:
    """Submits deferrals and knows what became of each."""

    def __init__(self, fallback: CloudFallback) -> None:
        self.fallback = fallback
        self._sent: list[Answers] = []

    def send(self, tensor: Tensor | None = None, seconds: float = PATIENCE, **kind: bool) -> Answers:
        """Submit one with so many seconds to go: ``patient``, an ``audit``, or ``held``."""
        answers = Answers()
        self._sent.append(answers)
        payload = numbers(0, 1, 0) if tensor is None else tensor
        until = time.monotonic() + seconds
        self.fallback.submit(Deferral("id", payload, until, **kind), answers)
        return answers

    def ask(self, tensor: Tensor | None = None, seconds: float = PATIENCE) -> Outcome:
        """Submit one and wait for its outcome."""
        answers = self.send(tensor, seconds)
        assert wait_until(lambda: bool(answers.outcomes), PATIENCE)
        return answers.outcomes[0]

    def becomes(self, reason: Reason) -> bool:
        """Whether the outcome is this, or soon will be."""
        return wait_until(lambda: self.ask().reason is reason, PATIENCE)

    def each_ended_once(self) -> bool:
        return all(len(answers.outcomes) == 1 for answers in self._sent)


@contextmanager
def fallback(  # noqa: PLR0913 - each has a default that most tests want
    port: int,
    artifact: Artifact,
    *,
    meter: Meter | None = None,
    max_inflight: int = 8,
    budget: Budget | None = None,
    look: float = PATIENCE,
) -> Iterator[Asker]:
    """A fallback to the server at ``port``, which has so many seconds to show itself."""
    settings = Cloud(target=f"{HOST}:{port}", model="cloud", max_inflight=max_inflight)
    with first_look(look), CloudFallback(settings, artifact, meter or Meter(), budget) as opened:
        asker = Asker(opened)
        yield asker
        opened.drain()
    assert asker.each_ended_once()
