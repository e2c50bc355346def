"""A worker: answers as a server of one process does, and for all of them only together with the others."""

import logging
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from typing import Any

from prometheus_client import values

from cloud_server import listening, meters, stopping
from cloud_server.calls import serving
from cloud_server.config import CloudConfig
from cloud_server.errors import StartError
from cloud_server.inference.catalogue import Catalogue
from cloud_server.inference.company import Alone
from cloud_server.inference.model import Card
from cloud_server.inference.statistics import Statistics, combined
from cloud_server.metrics import Meter
from cloud_server.workers import talk
from cloud_server.workers.talk import Line
from cloud_server.workers.task import BEAT, Served, Task
from protos import inference_pb2 as pb
from protos.artifact import ArtifactError
from protos.image import NoPillow


class WorkerMeter(Meter):
    """One whose figures lie in files. What those cannot tell, the supervisor does."""

    def __init__(self, task: Task) -> None:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(task.folder)
        values.ValueClass = values.MultiProcessValue(lambda: task.slot)
        super().__init__()

    def announce(self, name: str, version: str, precision: str, sha256: str) -> None:
        """Said by the supervisor."""

    def withdraw(self, name: str) -> None:
        """Said by the supervisor."""


class Together(Alone):
    """One of several processes: what a caller asks of one is done by all, through the supervisor."""

    def __init__(
        self, catalogue: Catalogue, statistics: Statistics, *, up: Line, unloaded: frozenset[str]
    ) -> None:
        super().__init__(catalogue, statistics)
        self._up = up
        if unloaded:
            catalogue.look(unloaded)

    def load(self, name: str) -> None:
        self._up.ask("load", name)

    def unload(self, name: str) -> None:
        self._up.ask("unload", name)

    def statistics(self, cards: Iterable[Card]) -> list[pb.ModelStatistics]:
        told = self._up.ask("statistics", [(card.name, card.version) for card in cards])
        return [combined(map(pb.ModelStatistics.FromString, parts)) for parts in zip(*told, strict=True)]

    def told(self, question: str, *about: Any) -> Any:
        """What the supervisor wishes to know, or to have done here."""
        if question == "statistics":
            return [self._of(name, version) for name, version in about[0]]
        getattr(self.catalogue, question)(*about)
        return served(self.catalogue)

    def _of(self, name: str, version: str) -> bytes:
        models = self.catalogue.repository.versions(name)
        done = self._statistics.of(models[version].card) if version in models else pb.ModelStatistics()
        return done.SerializeToString()


def served(catalogue: Catalogue) -> Served:
    """All that is served; of several versions the last answers who asks for none in particular."""
    cards = (model.card for model in catalogue.repository)
    return [(card.name, card.version, card.precision, card.sha256) for card in cards]


def run(task: Task, down: Connection, up: Line) -> None:
    """Answer until SIGTERM, or until there is no supervisor any more."""
    stop = stopping.signals()
    try:
        with _serve(task, up) as together:
            Thread(target=_obey, args=(down, together.told, task.folder), daemon=True).start()
            up.ask("ready", served(together.catalogue))
            stopping.first(stop)
    except (StartError, ArtifactError, NoPillow) as error:
        up.ask("failed", str(error))


@contextmanager
def _serve(task: Task, up: Line) -> Iterator[Together]:
    made: list[Together] = []

    def join(catalogue: Catalogue, statistics: Statistics) -> Together:
        made.append(Together(catalogue, statistics, up=up, unloaded=task.unloaded))
        return made[0]

    meter = WorkerMeter(task)
    with (
        serving.serve(task.config, meter, join) as (address, _),
        meters.running(task.config, meter, address),
    ):
        yield made[0]


def _obey(down: Connection, told: Callable[..., Any], folder: Path) -> None:
    """Do as the supervisor says; when it is gone, stop, and at once where that is under way already."""
    with suppress(EOFError, OSError):
        while True:
            talk.answer(down, told)
    shutil.rmtree(folder, ignore_errors=True)
    os.kill(os.getpid(), signal.SIGTERM)


def _beat(up: Line) -> None:
    with suppress(EOFError, OSError):
        while True:
            up.ask("alive")
            time.sleep(BEAT)


def main(down: int, up: int) -> int:
    """The process, with its ends of two lines: one to be asked by the supervisor, one to ask it."""
    below, above = Connection(down), Line(Connection(up))
    with suppress(EOFError, OSError):
        task: Task = below.recv()
        says = f"%(asctime)s %(levelname)s worker {task.slot}: %(message)s"
        logging.basicConfig(level=logging.INFO, format=says)
        listening.held.update(_ports(task.config))
        Thread(target=partial(_beat, above), daemon=True).start()
        run(task, below, above)
    return 0


def _ports(config: CloudConfig) -> set[int]:
    return {section.port for section in (config.server, config.rest, config.health) if section}


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
