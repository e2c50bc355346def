"""The one way from a question to its answer, whichever skin it came through."""

import time
from collections.abc import Callable
from threading import Lock
from typing import Protocol

from msgspec import Struct

from cloud_server.access.rights import Rights
from cloud_server.config import CloudConfig
from cloud_server.errors import Expired, Full, Gone, Late
from cloud_server.inference import limits
from cloud_server.inference.classification import classify
from cloud_server.inference.model import Card, Done, Model, Plan
from cloud_server.inference.question import Question
from cloud_server.inference.repository import Repository
from cloud_server.inference.sizing import Run
from cloud_server.inference.statistics import Answered, Ran, Statistics
from cloud_server.inference.turns import Turns
from cloud_server.metrics import Meter
from cloud_server.room import Room
from protos import timing
from protos.codec import Tensor

SHED_BY: dict[type[Exception], str] = {Expired: "expired", Gone: "gone", Late: "late", Full: "queue"}
"""By which reason a request counts that is refused before it runs."""


class Answer(Struct, frozen=True):
    """What the model said, and what is to be said of it."""

    card: Card
    tensors: dict[str, Tensor]
    timing: dict[str, str]
    """How long it took, and what the time is: for headers or parameters."""


class Before(Protocol):
    """Where requests wait before they come here."""

    wanted: int
    """To be answered at once, of each kind."""


class Answering:
    """Models, statistics, and how many runs there may be at once. Any number of threads may ask."""

    def __init__(
        self, repository: Repository, runs: int, meter: Meter, rights: Rights, config: CloudConfig
    ) -> None:
        self.repository, self.statistics, self._meter = repository, Statistics(meter), meter
        self.rights, self.runs = rights, runs
        self._widest, self._lock = 1, Lock()
        self._before: Before | None = None
        self.room = Room(runs + config.server.queue, runs)
        self._turns = Turns(runs, self._ran, self.room)

    def answer(self, question: Question) -> Answer:
        """``RequestError`` or ``CodecError`` says what is wrong with it."""
        asked, call = question.asked, question.call
        self.rights.require_answer(asked.model, call.identity)
        model, came = self.repository.get(asked.model, asked.version), time.perf_counter()
        try:
            if question.size > limits.SMALLEST:
                limits.check(model.card, question.size)
            plan = model.plan(asked)
            work = model.prepare(plan, question.tensors())
            read = time.perf_counter()
            done = self._turns.run(work, call)
            outputs = _classified(model.card, plan, done) if plan.classified else done.outputs
        except Exception as error:
            self.statistics.failed(model.card, time.perf_counter() - came)
            if shed := SHED_BY.get(type(error)):
                self._meter.shed_by[shed].inc()
            raise
        self.statistics.succeeded(Answered(model.card, done.run, came, read, time.perf_counter()))
        return Answer(model.card, outputs, timing.facts(done.run.began - read, done.run.seconds))

    def after(self, before: Before) -> None:
        """Requests wait there before they come: wanted are one for each run, or as many as share it."""
        self._before = before

    def before_waiting(self, waits: Callable[[], None]) -> None:
        """Call this in every thread that is going to wait for its turn."""
        self._turns.waits = waits

    def _ran(self, model: Model, run: Run) -> None:
        sizing = model.sizing
        if sizing.room != self._widest:
            with self._lock:
                self._widest = max(it.sizing.room for it in (model, *self.repository))
                if self._before:
                    self._before.wanted = self.runs if self._widest == 1 else (self.runs + 1) * self._widest
        self.statistics.ran(Ran(model.card, run, sizing.limit))


def _classified(card: Card, plan: Plan, done: Done) -> dict[str, Tensor]:
    outputs = done.outputs
    classes = {it.name: classify(outputs[it.name], it.classes, card.labels) for it in plan.classified}
    return outputs | classes
