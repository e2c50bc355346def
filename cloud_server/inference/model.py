"""One model, loaded and ready."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import accumulate
from math import inf
from typing import Any

import numpy as np
from msgspec import Struct

from cloud_server.errors import BadInput
from cloud_server.inference.call import Call
from cloud_server.inference.inputs import accept, expect
from cloud_server.inference.question import Asked, Wanted
from cloud_server.inference.runs import ENDED, Runs
from cloud_server.inference.sizing import Run, Sizing
from protos.artifact import ImageInput, TensorSpec
from protos.codec import Tensor

FORMS = 64
"""Plans that are kept: most callers ask the same each time."""

_NAMED = 9
"""Names that a refusal repeats."""
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


class Plan(Struct, frozen=True, eq=False):
    """How a question is answered, whatever it feeds."""

    outputs: list[str]
    classified: tuple[Wanted, ...]
    """Those that are wanted as classes."""
    samples: int
    shares: bool
    """Whether others can have a part in its run."""
    kind: object
    """Of those that share, equal for who can share a run with each other."""


class Work(Struct, frozen=True, eq=False):
    """What a request would have run: checked, it fits the model."""

    model: "Model"
    plan: Plan
    feed: dict[str, Tensor]


class Done(Struct, frozen=True):
    """A request that has been run."""

    outputs: dict[str, Tensor]
    run: Run
    """Which may be that of others, too."""


class Model:
    """A session and its card. Any number of threads may use it at once."""

    def __init__(
        self, card: Card, session: Any, most: int = 1, delay: float = 0.0, *, longest: float = inf
    ) -> None:
        """``most``: samples in a run that requests share. ``delay``: seconds that it waits for them.

        ``longest``: seconds that a run may take.
        """
        self.card, self.delay = card, delay
        self.sizing = Sizing(most if card.batches else 1)
        self.runs = Runs(session, longest)
        self.plan = lru_cache(FORMS)(partial(_plan, card, object()))  # no cycle, which would keep a model
        """For an ``Asked``; ``BadInput`` if it is not what the model takes or gives."""
        self._names = [spec.name for spec in card.outputs]
        self._speaks = any(spec.datatype == "BYTES" for spec in card.outputs)

    def prepare(self, plan: Plan, tensors: Mapping[str, Tensor]) -> Work:
        """Arrays by input name, as the headers of the plan say.

        ``BadInput`` says what is wrong with what they hold.
        """
        feed: dict[str, Tensor] = {}
        images = self.card.images
        for spec in self.card.inputs:
            feed[spec.name] = accept(spec, tensors[spec.name], images)
        return Work(self, plan, feed)

    def alone(self, work: Work, call: Call) -> Done | Exception:
        """In a run of its own."""
        curious = self.sizing.curious
        began, used = time.perf_counter(), time.thread_time() if curious else 0.0
        try:
            outputs = self._run(work.plan.outputs, work.feed, (call,))
        except Exception as error:  # noqa: BLE001 - it is the caller's
            return error
        seconds, cost = time.perf_counter() - began, time.thread_time() - used if curious else None
        return Done(outputs, Run(work.plan.samples, began, seconds, cost))

    def together(self, works: Sequence[Work], calls: Sequence[Call]) -> list[Done | Exception]:
        """All in one run; each by itself if that fails, so that nobody fails for another's sake."""
        if len(works) == 1:
            return [self.alone(works[0], calls[0])]
        curious = self.sizing.curious
        began, used = time.perf_counter(), time.thread_time() if curious else 0.0
        outputs = [name for name in self._names if any(name in work.plan.outputs for work in works)]
        try:
            joined = {name: np.concatenate([work.feed[name] for work in works]) for name in works[0].feed}
            found = _divided(self._run(outputs, joined, calls), works)
        except ENDED as error:
            return [error] * len(works)
        except Exception:  # noqa: BLE001 - whose it is shows now
            return list(map(self.alone, works, calls))
        seconds, cost = time.perf_counter() - began, time.thread_time() - used if curious else None
        run = Run(sum(work.plan.samples for work in works), began, seconds, cost)
        return [Done(outputs, run) for outputs in found]

    def _run(
        self, outputs: Sequence[str], feed: dict[str, Tensor], calls: Sequence[Call]
    ) -> dict[str, Tensor]:
        """What fits the signature can still be wrong: sizes that do not go together, an index too high."""
        try:
            arrays = self.runs.run(outputs, feed, calls)
        except ENDED:
            raise
        except Exception as error:  # onnxruntime's errors have no base of their own
            log.warning("model %s: %s", self.card.name, error)
            shapes = {name: list(array.shape) for name, array in feed.items()}
            raise BadInput(f"the model cannot run on these inputs, of shape {shapes}") from error
        return dict(zip(outputs, map(_to_bytes, arrays) if self._speaks else arrays, strict=True))


def _plan(card: Card, model: object, asked: Asked) -> Plan:
    shapes = expect(card.inputs, card.images, asked.headers)
    counts = [shape[0] for shape in shapes] if _counts(card) else [1]
    samples = max(1, counts[0])
    shares = card.batches and {*counts} == {samples}
    kind = (model, *(shape[1:] for shape in shapes)) if shares else object()
    classified = tuple(it for it in asked.wanted if it.classes)
    return Plan(_choose(card, asked.wanted), classified, samples, shares, kind)


def _counts(card: Card) -> bool:
    """Whether what is fed says how many samples there are."""
    return bool(card.inputs) and all(spec.shape[:1] == (-1,) for spec in card.inputs)


def _choose(card: Card, wanted: Sequence[Wanted]) -> list[str]:
    requested, names = [it.name for it in wanted], [spec.name for spec in card.outputs]
    if unknown := set(requested) - set(names):
        raise BadInput(f"no output {sorted(unknown)[:_NAMED]}, the model has {names}")
    if len(set(requested)) < len(requested):  # with as many plans, and larger ones, callers could fill memory
        raise BadInput(f"outputs {requested[:_NAMED]}, expected each once at most of {names}")
    return requested or names


def _divided(joined: Mapping[str, Tensor], works: Sequence[Work]) -> list[dict[str, Tensor]]:
    """To each request its own samples, of the outputs that it is to have."""
    ends = list(accumulate(work.plan.samples for work in works))
    if any(len(array) != ends[-1] for array in joined.values()):
        raise ValueError("the model does not answer each sample")
    return [
        {name: joined[name][end - work.plan.samples : end] for name in work.plan.outputs}
        for work, end in zip(works, ends, strict=True)
    ]


def _to_bytes(array: Tensor) -> Tensor:
    """Text becomes BYTES; all else stays."""
    return np.vectorize(str.encode, otypes=[object])(array) if array.dtype.hasobject else array


def show(*specs: TensorSpec) -> str:
    """Tensors of a signature, for people."""
    return ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in specs)
