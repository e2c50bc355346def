"""Keeps what is served as the folder of models says, while calls go on."""

import logging
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread

from cloud_server import config
from cloud_server.errors import ModelError, NotOffered, UnknownModel
from cloud_server.inference import versions
from cloud_server.inference.model import Model
from cloud_server.inference.repository import Repository
from cloud_server.inference.versions import Versions

Open = Callable[[Path, str, str], Model]
"""Path, name and version -> the model, warm; ``ModelError`` if it cannot be served."""
Changed = Callable[[str], object]
"""The name of a model that has come or gone, or is another one."""
FIXED = "this server's models are fixed: it needs a [repository] with control = true"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One version of a model, for the index."""

    name: str
    version: str
    reason: str = ""
    """Why it is not served; empty if it is."""


class Catalogue:
    """One load at a time; a failed one leaves what is served as it is."""

    def __init__(self, repository: Repository, settings: config.Repository | None, open_model: Open) -> None:
        self.repository, self._settings, self._open_model = repository, settings, open_model
        self._changed: Changed = lambda _: None
        self._fixed = set(repository.names())
        self._stamps: dict[Path, object] = {}
        self._problems: dict[tuple[str, str], str] = {}
        self._lock = Lock()

    def watch(self, changed: Changed) -> None:
        """Be told of every model that is served, and of each that comes or goes."""
        with self._lock:
            self._changed = changed
            for name in self.repository.names():
                changed(name)

    def reload(self) -> None:
        """``look``, beside all that goes on."""
        Thread(target=self.look, name="catalogue", daemon=True).start()

    def look(self, without: Collection[str] = ()) -> None:
        """Serve what is in the folder now and nothing else of it; problems go into the log and the index.

        ``without``: models that are to stay unloaded.
        """
        if self._settings is None:
            return
        with self._lock:
            try:
                folder = versions.find(self._settings.path)
            except ModelError as error:
                log.error("%s; what is served stays", error)  # noqa: TRY400 - one line
                return
            found = {name: there for name, there in folder.items() if name not in without}
            for name in self._names() - found.keys():
                self._drop(name)
            for name, there in found.items():
                self._take(self._settings, name, there)

    def load(self, name: str) -> None:
        """Load a model anew, as a caller wishes; ``ModelError`` says why a version of it cannot serve."""
        settings = self._controlled()
        with self._lock:
            there = versions.find(settings.path).get(name)
            if there is None:
                raise UnknownModel(f"no model {name!r} in the repository")
            if error := self._take(settings, name, there):
                raise error

    def unload(self, name: str) -> None:
        """Serve a model no more, until it is loaded, or the folder is read, again."""
        self._controlled()
        with self._lock:
            if name not in self._names():
                raise UnknownModel(f"no model {name!r} of the repository is served")
            self._drop(name)

    def index(self) -> Iterator[Entry]:
        """What is served, and what could not be."""
        served = [(model.card.name, model.card.version) for model in self.repository]
        problems = dict(self._problems)
        for name, version in sorted({*served, *problems}):
            yield Entry(name, version, "" if (name, version) in served else problems[name, version])

    def _controlled(self) -> config.Repository:
        if self._settings is None or not self._settings.control:
            raise NotOffered(FIXED)
        return self._settings

    def _names(self) -> set[str]:
        return set(self.repository.names()) - self._fixed

    def _take(self, settings: config.Repository, name: str, there: Versions) -> ModelError | None:
        """Serve a model's versions as the settings have it; the first problem, if there was one."""
        served, problems = self._load(settings, name, there)
        self._forget(name)
        for version, problem in problems.items():
            self._problems[name, version] = problem.problem
            log.error(
                "%s; served: %s", problem, sorted(served or self.repository.versions(name)) or "nothing"
            )
        if served:
            self.repository.put(name, list(reversed(served.values())))
            self._changed(name)
        return next(iter(problems.values()), None)

    def _load(
        self, settings: config.Repository, name: str, there: Versions
    ) -> tuple[dict[str, Model], dict[str, ModelError]]:
        """Models by version, the highest first, and what kept others from being among them."""
        served: dict[str, Model] = {}
        problems: dict[str, ModelError] = {}
        if name in self._fixed:
            return served, {"": ModelError(settings.path / name, "has the name of one of [[models]]")}
        for number, path in versions.wanted(settings, name, there).items():
            version = str(number)
            try:
                served[version] = self._current(settings.path, path, name, version)
            except ModelError as error:
                problems[version] = error
                if kept := self.repository.versions(name).get(version):
                    served[version] = kept
            if served and settings.versions == "latest" and name not in settings.pinned:
                break
        return served, problems

    def _current(self, folder: Path, path: Path, name: str, version: str) -> Model:
        """What is served already, unless its files have changed."""
        stamp = versions.stamp(path)
        versions.require_inside(folder, path)
        served = self.repository.versions(name).get(version)
        if served and self._stamps.get(path) == stamp:
            return served
        model = self._open_model(versions.model_in(path), name, version)
        self._stamps[path] = stamp
        return model

    def _drop(self, name: str) -> None:
        self.repository.remove(name)
        self._forget(name)
        self._changed(name)

    def _forget(self, name: str) -> None:
        self._problems = {key: problem for key, problem in self._problems.items() if key[0] != name}
