"""The one way from a question to its answer, whichever skin it came through."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from msgspec import Struct

from cloud_server.access.rights import Rights
from cloud_server.config import CloudConfig
from cloud_server.errors import Expired, Full, Gone, Late
from cloud_server.inference import limits
from cloud_server.inference.call import Call
from cloud_server.inference.classification import classify
from cloud_server.inference.model import Card, Model
from cloud_server.inference.repository import Repository
from cloud_server.inference.sizing import Run
from cloud_server.inference.statistics import Answered, Ran, Statistics
from cloud_server.inference.turns import Turns
from cloud_server.metrics import Meter
from protos import timing
from protos.codec import PlainHeader, Tensor
from protos.identity import MODEL_SHA256

SHED_BY: dict[type[Exception], str] = {Expired: "expired", Gone: "gone", Late: "late", Full: "queue"}
"""By which reason a request counts that is refused before it runs."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that is asked for."""

    name: str
    classes: int = 0
    """As its best classes, so many; 0: as it is."""


class Question(Struct, frozen=True, kw_only=True):
    """One request, as far as it has been read."""

    model: str
    version: str
    size: int
    """Bytes of it all."""
    headers: tuple[PlainHeader, ...]
    """What is said of its tensors."""
    tensors: Callable[[], Mapping[str, Tensor]]
    """Reads them: not before it is clear that there is a model for them."""
    wanted: Sequence[Wanted]
    """Empty: every output."""
    call: Call


class Answer(Struct, frozen=True):
    """What the model said, and what is to be said of it."""

    card: Card
    tensors: dict[str, Tensor]
    facts: tuple[tuple[str, str], ...]
    """Which model it was, how long it took, what the time is: for headers, trailers or parameters."""


class Answering:
    """Models, statistics, and how many runs there may be at once. Any number of threads may ask."""

    def __init__(
        self, repository: Repository, runs: int, meter: Meter, rights: Rights, config: CloudConfig
    ) -> None:
        self.repository, self.statistics, self._meter = repository, Statistics(meter), meter
        self.rights, self.runs, self._most = rights, runs, config.server.queue
        self._widest, self._readers = 1, runs
        self._turns = Turns(runs, self._ran, self._most)

    def answer(self, question: Question) -> Answer:
        """``RequestError`` or ``CodecError`` says what is wrong with it."""
        self.rights.require_model(question.model)
        self.rights.require_turn(question.call.identity)
        model, came = self.repository.get(question.model, question.version), time.perf_counter()
        try:
            limits.check(model.card, question.size)
            model.expect(question.headers)
            work = model.prepare(question.tensors(), [it.name for it in question.wanted])
            read = time.perf_counter()
            done = self._turns.run(work, question.call)
            outputs = done.outputs | _classified(model, done.outputs, question.wanted)
        except Exception as error:
            self.statistics.failed(model.card, time.perf_counter() - came)
            if shed := SHED_BY.get(type(error)):
                self._meter.shed_by[shed].inc()
            raise
        self.statistics.succeeded(Answered(model.card, done.run, came, read, time.perf_counter()))
        return Answer(model.card, outputs, _facts(model.card, done.run, read))

    def after(self, unread: Callable[[], int]) -> None:
        """So many requests wait at any time before they are read."""
        self._turns.unread = unread

    def before_waiting(self, waits: Callable[[], None]) -> None:
        """Call this in every thread that is going to wait for its turn."""
        self._turns.waits = waits

    def readers(self) -> int:
        """Requests to read at once: one or as many as share it for each run; all, where there is an order."""
        return self._readers

    def _ran(self, model: Model, run: Run) -> None:
        if model.sizing.room != self._widest:
            self._widest = max(it.sizing.room for it in (model, *self.repository))
        one_each = self._widest == 1
        self._readers = self.runs if one_each else (self.runs + 1) * self._widest
        if self._turns.mixed:
            self._readers = self.runs + self._most
        self.statistics.ran(Ran(model.card, run, model.sizing.limit))


def _classified(model: Model, outputs: Mapping[str, Tensor], wanted: Sequence[Wanted]) -> dict[str, Tensor]:
    return {it.name: classify(outputs[it.name], it.classes, model.card.labels) for it in wanted if it.classes}


def _facts(card: Card, run: Run, read: float) -> tuple[tuple[str, str], ...]:
    return (MODEL_SHA256, card.sha256), *timing.trailer(queue=run.began - read, compute=run.seconds)
