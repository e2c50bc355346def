"""One model, loaded and ready."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any

import numpy as np
from msgspec import Struct

from cloud_server.errors import BadInput
from cloud_server.inference.inputs import accept, expect
from cloud_server.inference.session import run_options
from cloud_server.inference.sizing import Run, Sizing
from protos.artifact import ImageInput, TensorSpec
from protos.codec import Tensor

FORMS = 64
"""Headers that are known to be good: most callers send the same each time."""

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


class Work(Struct, frozen=True, eq=False):
    """What a request would have run: checked, it fits the model."""

    model: "Model"
    feed: dict[str, Tensor]
    outputs: list[str]
    samples: int
    shares: bool
    """Whether others can have a part in its run."""

    @property
    def kind(self) -> object:
        """Equal for those that can share a run."""
        return (self.model, *(array.shape[1:] for array in self.feed.values())) if self.shares else self


class Done(Struct, frozen=True):
    """A request that has been run."""

    outputs: dict[str, Tensor]
    run: Run
    """Which may be that of others, too."""


class Model:
    """A session and its card. Any number of threads may use it at once."""

    def __init__(self, card: Card, session: Any, most: int = 1, delay: float = 0.0) -> None:
        """``most``: samples in a run that requests share. ``delay``: seconds that it waits for them."""
        self.card, self.delay = card, delay
        self.sizing = Sizing(most if card.batches else 1)
        self._session = session
        self.expect = lru_cache(FORMS)(partial(expect, card.inputs, card.images))
        """``BadInput`` unless tensors of these headers may be fed."""
        self._options = run_options()
        self._names = [spec.name for spec in card.outputs]
        self._counts = bool(card.inputs) and all(spec.shape[:1] == (-1,) for spec in card.inputs)

    def prepare(self, tensors: Mapping[str, Tensor], requested: Sequence[str] = ()) -> Work:
        """Arrays by input name, as ``expect`` let them pass, to be run for all outputs if none is requested.

        ``BadInput`` says what is wrong with what they hold.
        """
        outputs = self._choose(requested)
        feed = {spec.name: accept(spec, tensors[spec.name], self.card.images) for spec in self.card.inputs}
        counts = [len(array) for array in feed.values()] if self._counts else [1]
        samples = max(1, counts[0])
        return Work(self, feed, outputs, samples, self.card.batches and {*counts} == {samples})

    def run(self, works: Sequence[Work]) -> list[Done | Exception]:
        """All in one run; each by itself if that fails, so that nobody fails for another's sake."""
        curious = self.sizing.curious
        began, used = time.perf_counter(), time.thread_time() if curious else 0.0
        try:
            found = self._together(works)
        except Exception as error:  # noqa: BLE001 - it is the callers'
            if len(works) > 1:
                return [it for work in works for it in self.run([work])]
            return [error]
        seconds, cost = time.perf_counter() - began, time.thread_time() - used if curious else None
        run = Run(sum([work.samples for work in works]), began, seconds, cost)
        return [Done(outputs, run) for outputs in found]

    def stop(self) -> None:
        """End runs under way; each fails."""
        self._options.terminate = True

    def _choose(self, requested: Sequence[str]) -> list[str]:
        if not requested:
            return self._names
        if unknown := set(requested) - set(self._names):
            raise BadInput(f"no output {sorted(unknown)}, the model has {self._names}")
        return list(dict.fromkeys(requested))

    def _together(self, works: Sequence[Work]) -> list[dict[str, Tensor]]:
        """The outputs of each."""
        if len(works) == 1:
            return [self._run(works[0].outputs, works[0].feed)]
        outputs = [name for name in self._names if any(name in work.outputs for work in works)]
        joined = {name: np.concatenate([work.feed[name] for work in works]) for name in works[0].feed}
        return _divided(self._run(outputs, joined), works)

    def _run(self, outputs: Sequence[str], feed: dict[str, Tensor]) -> dict[str, Tensor]:
        """What fits the signature can still be wrong: sizes that do not go together, an index too high."""
        try:
            arrays: list[Tensor] = self._session.run(outputs, feed, self._options)
        except Exception as error:  # onnxruntime's errors have no base of their own
            log.warning("model %s: %s", self.card.name, error)
            shapes = {name: list(array.shape) for name, array in feed.items()}
            raise BadInput(f"the model cannot run on these inputs, of shape {shapes}") from error
        return dict(zip(outputs, map(_to_bytes, arrays), strict=True))


def _divided(joined: Mapping[str, Tensor], works: Sequence[Work]) -> list[dict[str, Tensor]]:
    """To each request its own samples, of the outputs that it is to have."""
    ends = list(accumulate(work.samples for work in works))
    if any(len(array) != ends[-1] for array in joined.values()):
        raise ValueError("the model does not answer each sample")
    return [
        {name: joined[name][end - work.samples : end] for name in work.outputs}
        for work, end in zip(works, ends, strict=True)
    ]


def _to_bytes(array: Tensor) -> Tensor:
    """Text becomes BYTES; all else stays."""
    return np.vectorize(str.encode, otypes=[object])(array) if array.dtype.hasobject else array


def show(*specs: TensorSpec) -> str:
    """Tensors of a signature, for people."""
    return ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in specs)
