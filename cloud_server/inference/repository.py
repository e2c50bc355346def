"""The models that are served."""

from collections.abc import Iterable, Iterator
from math import prod

from cloud_server.errors import UnknownModel
from cloud_server.inference.model import Card, Model
from protos.artifact import TensorSpec
from protos.codec import DTYPES

BATCH = 32
"""Samples that one call may bring where the model leaves the batch free."""
SMALLEST, LARGEST = 4 << 20, 64 << 20
"""Bytes: any request may be as large as the one, no batch larger than the other."""
HEADERS = 1 << 16
"""Bytes of a request beside its tensors."""
TYPED = 2
"""Bytes that one byte of a small integer takes as typed contents."""


class Repository:
    """Loaded models by name, one version each."""

    def __init__(self, models: Iterable[Model]) -> None:
        self._models = {model.card.name: model for model in models}

    def __iter__(self) -> Iterator[Model]:
        return iter(self._models.values())

    def get(self, name: str, version: str = "") -> Model:
        """The model; ``UnknownModel`` names what there is instead."""
        model = self._models.get(name)
        if model is None:
            raise UnknownModel(f"no model {name!r}, there is {sorted(self._models)}")
        if version not in ("", model.card.version):
            raise UnknownModel(f"model {name!r} has version {model.card.version!r}, not {version!r}")
        return model

    @property
    def request_bytes(self) -> int:
        """The largest request that makes sense for these models."""
        return max(_request_bytes(model.card) for model in self)


def _request_bytes(card: Card) -> int:
    """One sample always fits; a batch up to ``LARGEST``, and so do free sizes and encoded images."""
    sample = TYPED * sum(map(_sample_bytes, card.inputs)) + HEADERS
    bounded = card.images is None and all(-1 not in spec.shape[1:] for spec in card.inputs)
    return max(SMALLEST, sample, min(BATCH * sample, LARGEST) if bounded else LARGEST)


def _sample_bytes(spec: TensorSpec) -> int:
    return DTYPES[spec.datatype].itemsize * prod(max(size, 1) for size in spec.shape)
