"""The statistics extension: what each model has done, and where the time went."""

import time
from threading import Lock

from cloud_server.inference.model import Card
from protos import inference_pb2 as pb

SIZES = 64
"""Sizes of batches that are told apart, for each model; a caller chooses them."""


class Laps:
    """Where the time of one request goes; each stage ends as the next begins."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """This stage ends now."""
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now

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

    def succeeded(self, card: Card, laps: Laps, batch: int) -> None:
        """A request of ``batch`` samples was answered by one run."""
        with self._lock:
            kept = self._of(card)
            kept.last_inference = time.time_ns() // 1_000_000
            kept.inference_count += batch
            kept.execution_count += 1
            _add(kept.inference_stats.success, laps.total)
            for stage, seconds in laps.seconds.items():
                _add(getattr(kept.inference_stats, stage), seconds)
            if size := self._size(kept, batch):
                for stage in ("compute_input", "compute_infer", "compute_output"):
                    _add(getattr(size, stage), laps.seconds[stage])

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


def _add(duration: pb.StatisticDuration, seconds: float) -> None:
    duration.count += 1
    duration.ns += int(seconds * 1e9)
