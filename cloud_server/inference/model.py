"""One model, loaded and ready."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from prometheus_client import Histogram

from cloud_server.errors import BadInput
from cloud_server.inference.inputs import accept
from cloud_server.inference.session import run_options
from protos.artifact import ImageInput, TensorSpec
from protos.codec import Tensor

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

    def __str__(self) -> str:
        """One line for people."""
        signature = f"{show(*self.inputs)} -> {show(*self.outputs)}"
        return f"{self.name} {self.version}: {signature}, {self.precision}, sha256 {self.sha256}"


class Model:
    """A session and its card. Any number of threads may call ``infer`` at once."""

    def __init__(self, card: Card, session: Any, timer: Histogram) -> None:
        self.card = card
        self._session = session
        self._timer = timer
        self._options = run_options()

    def infer(self, tensors: Mapping[str, Tensor], requested: Sequence[str] = ()) -> dict[str, Tensor]:
        """Arrays by input name -> arrays by output name, all of them if none is requested.

        ``BadInput`` says what was expected.
        """
        outputs = self._choose(requested)
        feed = self._accept(tensors)
        return dict(zip(outputs, map(_to_bytes, self._run(outputs, feed)), strict=True))

    def stop(self) -> None:
        """End runs under way; each fails."""
        self._options.terminate = True

    def _choose(self, requested: Sequence[str]) -> list[str]:
        outputs = [spec.name for spec in self.card.outputs]
        if unknown := set(requested) - set(outputs):
            raise BadInput(f"no output {sorted(unknown)}, the model has {outputs}")
        return list(dict.fromkeys(requested)) or outputs

    def _accept(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        names = [spec.name for spec in self.card.inputs]
        if tensors.keys() != set(names):
            raise BadInput(f"inputs {sorted(tensors)}, expected {names}")
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
        return arrays


def _to_bytes(array: Tensor) -> Tensor:
    """Text becomes BYTES; all else stays."""
    return np.vectorize(str.encode, otypes=[object])(array) if array.dtype.hasobject else array


def show(*specs: TensorSpec) -> str:
    """Tensors of a signature, for people."""
    return ", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in specs)
