"""One model, loaded and ready."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
from prometheus_client import Histogram

from cloud_server.errors import BadInput
from cloud_server.inference.inputs import accept, expect
from cloud_server.inference.session import run_options
from cloud_server.inference.sizing import Run, Sizing
from protos.artifact import ImageInput, TensorSpec
from protos.codec import Header, Tensor

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a model says about itself."""

    name: str
    version: str
    precision: str
    sha256: str
    """Of the ONNX file: which model it really is."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    images: ImageInput | None = None
    """How to unfold JPEG and PNG, where the one input is an image."""
    labels: tuple[str, ...] = ()
    """Of the classes, where the model says them."""
    preprocessing: str = ""
    """``artifact.preprocessing_id``, where there is an artifact."""
    batches: bool = False
    """Along the first axis are samples that know nothing of each other: requests can share a run."""

    def __str__(self) -> str:
        """One line for people."""
        signature = f"{show(*self.inputs)} -> {show(*self.outputs)}"
        return f"{self.name} {self.version}: {signature}, {self.precision}, sha256 {self.sha256}"


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What a request would have run: checked, it fits the model."""

    model: "Model"
    feed: dict[str, Tensor]
    outputs: list[str]
    samples: int
    kind: object
    """Equal for those that can share a run,"""
    shares: bool
    """if it can."""


@dataclass(frozen=True, slots=True)
class Done:
    """A request that has been run."""

    outputs: dict[str, Tensor]
    run: Run
    """Which may be that of others, too."""


class Model:
    """A session and its card. Any number of threads may use it at once."""

    def __init__(self, card: Card, session: Any, timer: Histogram, most: int = 1, delay: float = 0.0) -> None:
        """``most``: samples in a run that requests share. ``delay``: seconds that it waits for them."""
        self.card, self.delay = card, delay
        self.sizing = Sizing(most if card.batches else 1)
        self._session = session
        self._timer = timer
        self._options = run_options()
        self._names = [spec.name for spec in card.outputs]
        self._counts = bool(card.inputs) and all(spec.shape[:1] == (-1,) for spec in card.inputs)

    def expect(self, headers: Sequence[Header]) -> None:
        """``BadInput`` unless such tensors may be fed."""
        expect(self.card.inputs, headers, self.card.images)

    def prepare(self, tensors: Mapping[str, Tensor], requested: Sequence[str] = ()) -> Work:
        """Arrays by input name, as ``expect`` let them pass, to be run for all outputs if none is requested.

        ``BadInput`` says what is wrong with what they hold.
        """
        outputs = self._choose(requested)
        feed = self._accept(tensors)
        shapes = [array.shape for array in feed.values()]
        samples = max(1, shapes[0][0]) if self._counts else 1
        shares = self.card.batches and all(shape[0] == samples for shape in shapes)
        kind = self, *(shape[1:] for shape in shapes)
        return Work(self, feed, outputs, samples, kind if shares else object(), shares)

    def run(self, works: Sequence[Work]) -> list[Done | Exception]:
        """All in one run; each by itself if that fails, so that nobody fails for another's sake."""
        outputs = [name for name in self._names if any(name in work.outputs for work in works)]
        began, cost = time.perf_counter(), time.thread_time()
        try:
            found = _divided(self._run(outputs, _joined(works)), works)
        except Exception as error:  # noqa: BLE001 - it is the callers'
            if len(works) > 1:
                return [it for work in works for it in self.run([work])]
            return [error]
        run = Run(
            sum(work.samples for work in works), began, time.perf_counter() - began, time.thread_time() - cost
        )
        named = [dict(zip(outputs, arrays, strict=True)) for arrays in found]
        return [
            Done({name: its[name] for name in work.outputs}, run)
            for work, its in zip(works, named, strict=True)
        ]

    def stop(self) -> None:
        """End runs under way; each fails."""
        self._options.terminate = True

    def _choose(self, requested: Sequence[str]) -> list[str]:
        if not requested:
            return self._names
        if unknown := set(requested) - set(self._names):
            raise BadInput(f"no output {sorted(unknown)}, the model has {self._names}")
        return list(dict.fromkeys(requested))

    def _accept(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {spec.name: accept(spec, tensors[spec.name], self.card.images) for spec in self.card.inputs}

    def _run(self, outputs: list[str], feed: dict[str, Tensor]) -> list[Tensor]:
        """What fits the signature can still be wrong: sizes that do not go together, an index too high."""
        try:
            with self._timer.time():
                arrays: list[Tensor] = self._session.run(outputs, feed, self._options)
        except Exception as error:  # onnxruntime's errors have no base of their own
            log.warning("model %s: %s", self.card.name, error)
            shapes = {name: list(array.shape) for name, array in feed.items()}
            raise BadInput(f"the model cannot run on these inputs, of shape {shapes}") from error
        return [_to_bytes(array) for array in arrays]


def _joined(works: Sequence[Work]) -> dict[str, Tensor]:
    if len(works) == 1:
        return works[0].feed
    return {name: np.concatenate([work.feed[name] for work in works]) for name in works[0].feed}


def _divided(arrays: list[Tensor], works: Sequence[Work]) -> list[list[Tensor]]:
    """To each request its own samples."""
    if len(works) == 1:
        return [arrays]
    ends = list(accumulate(work.samples for work in works))
    if any(len(array) != ends[-1] for array in arrays):
        raise ValueError("the model does not answer each sample")
    return [
        [array[end - work.samples : end] for array in arrays] for work, end in zip(works, ends, strict=True)
    ]


def _to_bytes(array: Tensor) -> Tensor:
    """Text becomes BYTES; all else stays."""
    return np.vectorize(str.encode, otypes=[object])(array) if array.dtype.hasobject else array


def show(*specs: TensorSpec) -> str:
    """Tensors of a signature, for people."""
    return ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in specs)
