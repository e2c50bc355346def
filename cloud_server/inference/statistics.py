"""The statistics extension: what each model has done, and where the time went."""

import time
from collections.abc import Iterable
from threading import Lock

from google.protobuf.message import Message

from cloud_server.inference.model import Card
from cloud_server.inference.sizing import Run
from protos import inference_pb2 as pb

SIZES = 64
"""Sizes of batches that are told apart, for each model; a caller chooses them."""


class Laps:
    """Where the time of one request goes; each stage ends as the next begins."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = self._last = time.perf_counter()

    def lap(self, stage: str, at: float | None = None) -> None:
        """This stage ends now, or ended at a time of the same clock."""
        end = time.perf_counter() if at is None else at
        self.seconds[stage] = end - self._last
        self._last = end

    @property
    def total(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self._began


class Statistics:
    """Of every model by name and version, in the protocol's own messages. Thread-safe."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], pb.ModelStatistics] = {}
        self._batches: dict[tuple[str, str], dict[int, pb.InferBatchStatistics]] = {}
        self._lock = Lock()

    def ran(self, card: Card, run: Run) -> None:
        """A model has run."""
        with self._lock:
            kept = self._of(card)
            kept.last_inference = time.time_ns() // 1_000_000
            kept.inference_count += run.samples
            kept.execution_count += 1
            if size := self._size(kept, run.samples):
                _add(size.compute_infer, run.seconds)
                size.compute_input.count += 1
                size.compute_output.count += 1

    def succeeded(self, card: Card, laps: Laps, run: Run) -> None:
        """A request was answered by a run, its own or one that it shared."""
        with self._lock:
            kept = self._of(card)
            _add(kept.inference_stats.success, laps.total)
            for stage, seconds in laps.seconds.items():
                _add(getattr(kept.inference_stats, stage), seconds)
            if size := self._size(kept, run.samples):
                for stage in ("compute_input", "compute_output"):
                    getattr(size, stage).ns += int(laps.seconds[stage] * 1e9)

    def failed(self, card: Card, laps: Laps) -> None:
        """A request was refused, or the model failed."""
        with self._lock:
            _add(self._of(card).inference_stats.fail, laps.total)

    def of(self, card: Card) -> pb.ModelStatistics:
        """A copy; of a model that has done nothing, too."""
        copy = pb.ModelStatistics()
        with self._lock:
            copy.CopyFrom(self._of(card))
        return copy

    def _of(self, card: Card) -> pb.ModelStatistics:
        key = card.name, card.version
        return self._kept.setdefault(key, pb.ModelStatistics(name=card.name, version=card.version))

    def _size(self, kept: pb.ModelStatistics, batch: int) -> pb.InferBatchStatistics | None:
        sizes = self._batches.setdefault((kept.name, kept.version), {})
        if batch not in sizes and len(sizes) < SIZES:
            sizes[batch] = kept.batch_stats.add(batch_size=batch)
        return sizes.get(batch)


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
    for field, value in part.ListFields():
        if isinstance(value, pb.StatisticDuration):
            duration = getattr(whole, field.name)
            duration.count += value.count
            duration.ns += value.ns


def _add(duration: pb.StatisticDuration, seconds: float) -> None:
    duration.count += 1
    duration.ns += int(seconds * 1e9)
