"""What the pipeline gives to a fallback, and what it gets back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self

from protos.codec import Tensor
from protos.result import Reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an offload ended: the cloud's answer, or the reason why there is none."""

    reason: Reason
    class_index: int = 0
    confidence: float = 0.0
    seconds: float | None = None
    """From sending to the end; ``None`` if nothing was sent."""
    error: str | None = None
    sent: int = 0
    """Payload bytes that left, once for each attempt."""
    received: int = 0
    """Bytes of the answer."""


Done = Callable[[Outcome], None]


@dataclass(frozen=True, slots=True)
class Deferral:
    """A sample on its way to the cloud."""

    request_id: str
    payload: Tensor
    deadline: float
    """Latest moment of an answer, on the monotonic clock."""
    patient: bool = False
    """Wait for a free slot, rather than be answered at once that all are taken."""
    audit: bool = False
    """Nobody waits for the answer: yield to every other, and leave the offload budget alone."""
    held: bool = False
    """A provisional answer is out: yield to every other."""


class Fallback(Protocol):
    """Answers deferred samples somewhere else."""

    def submit(self, deferral: Deferral, done: Done) -> None:
        """Call ``done`` exactly once, by the deadline, on this or another thread."""

    def drain(self) -> None:
        """Wait until every ``done`` has been called; submit nothing more."""


class NoFallback:
    """A node without a cloud: the edge answers as best it can."""

    blocked = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was opened."""

    def submit(self, deferral: Deferral, done: Done) -> None:  # noqa: ARG002 - nothing is sent
        """Say at once that nobody else is there."""
        done(Outcome(Reason.EDGE_ONLY))

    def drain(self) -> None:
        """Nothing is ever under way."""


class Budget(Protocol):
    """The last word on what may be sent, once breaker and forecast have consented."""

    def take(self, nbytes: int, /) -> bool:
        """Charge the payload of a call, if it is there; ``settle`` follows once the call has ended."""

    def settle(self, charged: int, used: int, /) -> None:
        """Replace a charge by what went over the line, both ways and at every attempt."""


class NoBudget:
    """Send whatever helps."""

    def take(self, nbytes: int, /) -> bool:  # noqa: ARG002 - it is always there
        """Consent."""
        return True

    def settle(self, charged: int, used: int, /) -> None:
        """Nothing was charged."""
