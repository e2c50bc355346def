"""The statistics extension: what each model has done, and where the time went."""

import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

from google.protobuf.message import Message
from msgspec import Struct

from cloud_server.inference.model import Card
from cloud_server.inference.sizing import Run
from cloud_server.metrics import Meter
from protos import inference_pb2 as pb
from protos.tally import Tally

SIZES = 64
"""Sizes of batches that are told apart, for each model; a caller chooses them."""
STAGES = ("compute_input", "queue", "compute_infer", "compute_output")

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class Answered(Struct, frozen=True):
    """A request, by when each of its stages ended: on the clock of ``time.perf_counter``."""

    card: Card
    run: Run
    """Its own, or one that it shared."""
    came: float
    read: float
    ended: float

    @property
    def stages(self) -> tuple[float, float, float, float]:
        """Seconds of each of ``STAGES``."""
        began, ran = self.run.began, self.run.began + self.run.seconds
        return self.read - self.came, began - self.read, self.run.seconds, self.ended - ran


class Ran(Struct, frozen=True):
    """A run of a model."""

    card: Card
    run: Run
    limit: int
    """Samples that share one at most, as is known since."""


@dataclass(slots=True)
class Duration:
    """As the protocol has it."""

    count: int = 0
    seconds: float = 0.0

    def add(self, count: int, seconds: float) -> None:
        """So many more."""
        self.count += count
        self.seconds += seconds

    def message(self) -> pb.StatisticDuration:
        """For who asks."""
        return pb.StatisticDuration(count=self.count, ns=int(self.seconds * 1e9))


def _durations() -> dict[str, Duration]:
    return {stage: Duration() for stage in STAGES}


@dataclass(slots=True)
class Kept:
    """Of one model."""

    last: int = 0
    """Milliseconds since 1970."""
    samples: int = 0
    runs: int = 0
    success: Duration = field(default_factory=Duration)
    fail: Duration = field(default_factory=Duration)
    stages: dict[str, Duration] = field(default_factory=_durations)
    sizes: dict[int, dict[str, Duration]] = field(default_factory=dict)
    """By samples in a run."""

    def size(self, samples: int) -> dict[str, Duration]:
        """Runs of so many samples; what comes after too many sizes is kept nowhere."""
        if samples in self.sizes or len(self.sizes) >= SIZES:
            return self.sizes.get(samples) or _durations()
        return self.sizes.setdefault(samples, _durations())


class Statistics:
    """Of every model by name and version, here and in the metrics. Thread-safe."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._kept = defaultdict[tuple[str, str], Kept](Kept)
        self._runs, self._answers = Tally(self._count_runs), Tally(self._count_answers)
        self.ran, self.succeeded = self._runs.note, self._answers.note
        self._lock = Lock()
        meter.before_scrape(self.count)

    def failed(self, card: Card, seconds: float) -> None:
        """A request was refused, or the model failed."""
        with self._lock:
            self._kept[card.name, card.version].fail.add(1, seconds)

    def count(self) -> None:
        """All that has happened is in the metrics when this returns."""
        self._runs.count()
        self._answers.count()

    def of(self, card: Card) -> pb.ModelStatistics:
        """What a model has done; one that has done nothing, too."""
        self.count()
        with self._lock:
            kept = self._kept[card.name, card.version]
            spent = {name: it.message() for name, it in kept.stages.items()}
            return pb.ModelStatistics(
                name=card.name,
                version=card.version,
                last_inference=kept.last,
                inference_count=kept.samples,
                execution_count=kept.runs,
                inference_stats=pb.InferStatistics(
                    success=kept.success.message(), fail=kept.fail.message(), **spent
                ),
                batch_stats=[_size(samples, spent) for samples, spent in kept.sizes.items()],
            )

    def _count_runs(self, notes: Sequence[Ran]) -> None:
        for model, ran in _grouped(notes, _model).items():
            runs = [it.run for it in ran]
            samples, seconds = [run.samples for run in runs], [run.seconds for run in runs]
            self._meter.ran(model[0], samples, seconds, ran[-1].limit)
            with self._lock:
                kept = self._kept[model]
                kept.last = max(kept.last, _milliseconds(max(run.began + run.seconds for run in runs)))
                kept.samples += sum(samples)
                kept.runs += len(runs)
                for together, its in _grouped(runs, lambda run: run.samples).items():
                    size = kept.size(together)
                    size["compute_infer"].add(len(its), sum(run.seconds for run in its))
                    for stage in ("compute_input", "compute_output"):
                        size[stage].count += len(its)

    def _count_answers(self, notes: Sequence[Answered]) -> None:
        for model, answered in _grouped(notes, _model).items():
            spent = dict(zip(STAGES, zip(*(it.stages for it in answered), strict=True), strict=True))
            self._meter.answered(model[0], spent)
            with self._lock:
                kept = self._kept[model]
                kept.success.add(len(answered), sum(it.ended - it.came for it in answered))
                for stage, seconds in spent.items():
                    kept.stages[stage].add(len(seconds), sum(seconds))
                for it in answered:
                    size = kept.size(it.run.samples)
                    size["compute_input"].seconds += it.stages[0]
                    size["compute_output"].seconds += it.stages[-1]


def _milliseconds(at: float) -> int:
    """Since 1970, of a time of ``time.perf_counter``."""
    return int(1000 * (time.time() - time.perf_counter() + at))


def combined(parts: Iterable[pb.ModelStatistics]) -> pb.ModelStatistics:
    """What several processes have done with one model."""
    whole = pb.ModelStatistics()
    for part in parts:
        whole.name, whole.version = part.name, part.version
        whole.last_inference = max(whole.last_inference, part.last_inference)
        whole.inference_count += part.inference_count
        whole.execution_count += part.execution_count
        _add_up(whole.inference_stats, part.inference_stats)
        for size in part.batch_stats:
            sizes = {it.batch_size: it for it in whole.batch_stats}
            _add_up(sizes.get(size.batch_size) or whole.batch_stats.add(batch_size=size.batch_size), size)
    return whole


def _add_up(whole: Message, part: Message) -> None:
    """Every duration in it."""
    for descriptor, value in part.ListFields():
        if isinstance(value, pb.StatisticDuration):
            duration = getattr(whole, descriptor.name)
            duration.count += value.count
            duration.ns += value.ns


def _size(samples: int, spent: Mapping[str, Duration]) -> pb.InferBatchStatistics:
    stages = {name: it.message() for name, it in spent.items() if name != "queue"}
    return pb.InferBatchStatistics(batch_size=samples, **stages)


def _model(note: Ran | Answered) -> tuple[str, str]:
    return note.card.name, note.card.version


def _grouped(notes: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    groups = defaultdict[K, list[T]](list)
    for note in notes:
        groups[key(note)].append(note)
    return groups
