"""The models that are served."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from weakref import WeakSet

from cloud_server.errors import UnknownModel
from cloud_server.inference import limits
from cloud_server.inference.model import Model

_ANY = ""
"""Version that is asked for by who asks for none in particular."""


class Repository:
    """Loaded models by name and version. One writes while many read: a change is seen whole or not at all."""

    def __init__(self, models: Iterable[Model] = ()) -> None:
        self._models: dict[str, dict[str, Model]] = {}
        """By name and version; the last once more as ``_ANY``."""
        self._living = WeakSet[Model]()
        for model in models:
            self.put(model.card.name, [model])

    def __iter__(self) -> Iterator[Model]:
        return chain.from_iterable([self.versions(name).values() for name in self._models])

    def put(self, name: str, models: Sequence[Model]) -> None:
        """Serve these versions and no other; the last one answers who asks for none in particular.

        A call under way ends on the model that it began on, which is freed after the last one.
        """
        self._living.update(models)
        versions = {model.card.version: model for model in models}
        if models:
            versions[_ANY] = models[-1]
        self._models = {**self._models, name: versions}

    def remove(self, name: str) -> None:
        """Serve this model no more."""
        self._models = {key: versions for key, versions in self._models.items() if key != name}

    def get(self, name: str, version: str = "") -> Model:
        """The model; ``UnknownModel`` if there is none, or not in this version."""
        versions = self._models.get(name)
        if not versions:
            raise UnknownModel(f"no model {name!r} is served: the repository's index names those that are")
        if version not in versions:
            raise UnknownModel(f"model {name!r} has versions {list(self.versions(name))}, not {version!r}")
        return versions[version]

    def names(self) -> list[str]:
        """Of the models that are served."""
        return list(self._models)

    def versions(self, name: str) -> dict[str, Model]:
        """What is served of a model, in the order of ``put``; empty if there is none."""
        return {version: model for version, model in self._models.get(name, {}).items() if version != _ANY}

    def look(self) -> None:
        """End runs that take too long, or that nobody waits for, also of models that are served no more."""
        for model in list(self._living):
            model.runs.look()

    def stop(self) -> None:
        """End every run under way, those of models that are served no more too."""
        for model in list(self._living):
            model.runs.stop()

    @property
    def request_bytes(self) -> int:
        """The largest request that makes sense for these models."""
        return max((limits.request_bytes(model.card) for model in self), default=limits.SMALLEST)
