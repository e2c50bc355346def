"""The one way from a question to its answer, whichever skin it came through."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Semaphore

from cloud_server.errors import Expired
from cloud_server.inference.call import Call
from cloud_server.inference.classification import classify
from cloud_server.inference.model import Card, Model
from cloud_server.inference.repository import Repository
from cloud_server.inference.statistics import Laps, Statistics
from cloud_server.metrics import Meter
from protos import timing
from protos.codec import Tensor
from protos.identity import MODEL_SHA256


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that is asked for."""

    name: str
    classes: int = 0
    """As its best classes, so many; 0: as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One request, as far as it has been read."""

    model: str
    version: str
    tensors: Callable[[], Mapping[str, Tensor]]
    """Reads them: not before it is clear that there is such a model."""
    wanted: Sequence[Wanted]
    """Empty: every output."""
    call: Call


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said, and what is to be said of it."""

    card: Card
    tensors: dict[str, Tensor]
    facts: tuple[tuple[str, str], ...]
    """Which model it was, how long it took, what the time is: for headers, trailers or parameters."""


class Answering:
    """Models, statistics, and how many runs there may be at once. Any number of threads may ask."""

    def __init__(self, repository: Repository, runs: int, meter: Meter) -> None:
        self.repository, self.statistics, self._meter = repository, Statistics(), meter
        self._runs = Semaphore(runs)

    def answer(self, question: Question) -> Answer:
        """``RequestError`` or ``CodecError`` says what is wrong with it."""
        model, laps = self.repository.get(question.model, question.version), Laps()
        try:
            tensors = question.tensors()
            laps.lap("compute_input")
            with self._turn(question.call.deadline):
                laps.lap("queue")
                outputs = model.infer(tensors, [it.name for it in question.wanted])
            laps.lap("compute_infer")
            outputs |= _classified(model, outputs, question.wanted)
            laps.lap("compute_output")
        except Exception:
            self.statistics.failed(model.card, laps)
            raise
        self._count(model.card, laps, _batch(model.card, tensors))
        return Answer(model.card, outputs, _facts(model.card, laps))

    def _count(self, card: Card, laps: Laps, batch: int) -> None:
        self.statistics.succeeded(card, laps, batch)
        self._meter.batch_size.labels(card.name).observe(batch)
        for stage, seconds in laps.seconds.items():
            self._meter.stages.labels(card.name, stage).observe(seconds)

    @contextmanager
    def _turn(self, deadline: float | None) -> Iterator[None]:
        """Among those who may run; ``Expired`` if it does not come in time."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if left == 0 or not self._runs.acquire(timeout=left):
            self._meter.shed_by["expired"].inc()
            raise Expired("the request's time was over before the model could run")
        try:
            yield
        finally:
            self._runs.release()


def _classified(model: Model, outputs: Mapping[str, Tensor], wanted: Sequence[Wanted]) -> dict[str, Tensor]:
    return {it.name: classify(outputs[it.name], it.classes, model.card.labels) for it in wanted if it.classes}


def _batch(card: Card, tensors: Mapping[str, Tensor]) -> int:
    """Samples in a request: the first axis, where every input leaves it free."""
    if all(spec.shape[:1] == (-1,) for spec in card.inputs):
        return len(tensors[card.inputs[0].name])
    return 1


def _facts(card: Card, laps: Laps) -> tuple[tuple[str, str], ...]:
    took = timing.trailer(queue=laps.seconds["queue"], compute=laps.seconds["compute_infer"])
    return (MODEL_SHA256, card.sha256), *took
