"""The supervisor: starts workers, replaces those that end, and has all do what one of them is asked."""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Event, Lock, Thread
from typing import Any

from msgspec.structs import replace
from prometheus_client.multiprocess import mark_process_dead

from cloud_server import listening
from cloud_server.backoff import BackOff
from cloud_server.config import CloudConfig
from cloud_server.errors import CloudError, StartError
from cloud_server.metrics import Meter
from cloud_server.workers.merging import Merged
from cloud_server.workers.process import Process
from cloud_server.workers.task import Served, Task

STEADY = 60.0
"""Seconds after which a worker that ends is replaced as if none had ended before."""
_MEMORY = Path("/dev/shm")  # noqa: S108 - for a folder of our own there: figures wear out no disk

log = logging.getLogger(__name__)


class Workers:
    """As many as the settings say, all alike, each in a slot. A thread a slot keeps it filled."""

    def __init__(self, config: CloudConfig, meter: Meter, folder: Path) -> None:
        self._config, self._meter, self._folder = config, meter, folder
        self._processes: dict[int, Process] = {}
        self._answering: dict[int, Process] = {}
        self._served: Served = []
        self._unloaded: set[str] = set()
        self._lock, self._changing = Lock(), Lock()
        """Of what is in the dictionaries, for a moment; of what is served, for as long as a load takes."""
        self._news: SimpleQueue[StartError | None] = SimpleQueue()
        self._closing, self._begun = Event(), Event()
        self.failure: StartError | None = None
        """Why nothing is answered any more."""
        slots = range(config.server.workers)
        self._threads = [Thread(target=self._keep, args=(slot,), name=f"worker-{slot}") for slot in slots]

    def start(self) -> None:
        """All of them; ``StartError`` if one cannot."""
        for thread in self._threads:
            thread.start()
        for _ in self._threads:
            if error := self._news.get():
                raise error
        self._begun.set()

    def close(self) -> None:
        """All say that they are not serving, answer what is under way, and end."""
        with self._lock:
            self._closing.set()
            for process in self._processes.values():
                process.stop()
        for thread in self._threads:
            thread.join()

    @property
    def address(self) -> str:
        """Where they answer."""
        return listening.address(self._config.server.host, self._config.server.port)

    @property
    def models(self) -> tuple[str, ...]:
        """Name and version of each that they serve."""
        return tuple(f"{name} {version}" for name, version, *_ in self._served)

    def pids(self) -> list[int]:
        """Of their processes."""
        with self._lock:
            return [process.pid for process in self._processes.values()]

    def reload(self) -> None:
        """Have all read the folder of models anew, beside all that goes on."""
        Thread(target=self._look, name="reload", daemon=True).start()

    def _keep(self, slot: int) -> None:
        backoff = BackOff()
        while (began := time.monotonic()) and (process := self._begin(slot)):
            was = Watched(self, process)
            how = process.watch(was.behave)
            self._ended(process)
            if self._closing.is_set():
                return
            reason = was.reason or f"a worker ended{'' if was.ready else ' before it was ready'}: {how}"
            if not was.ready and self._gave_up(reason):
                return
            log.error("slot %d: %s", slot, reason)
            if time.monotonic() - began > STEADY:
                backoff.succeeded()
            self._meter.restarts.inc()
            self._closing.wait(backoff.failed())

    def _begin(self, slot: int) -> Process | None:
        """A new one, unless all come to an end."""
        with self._lock:
            if self._closing.is_set():
                return None
            task = Task(self._config, slot, self._folder, frozenset(self._unloaded))
            self._processes[slot] = Process(task)
            return self._processes[slot]

    def _ended(self, process: Process) -> None:
        with self._lock:
            del self._processes[process.slot]
            self._answering.pop(process.slot, None)
            self._meter.workers.set(len(self._answering))
        mark_process_dead(process.slot, str(self._folder))

    def _gave_up(self, reason: str) -> bool:
        """Whether one that cannot start is the end of all: at first, and when no other answers."""
        if not self._begun.is_set():
            self._news.put(StartError(reason))
            return True
        if self._answering:
            return False
        self.failure = StartError(reason)
        os.kill(os.getpid(), signal.SIGTERM)
        return True

    def joined(self, process: Process, served: Served) -> None:
        """A worker answers: the first of its slot, or one more that has read the folder as it is now."""
        with self._lock:
            self._answering[process.slot] = process
            self._meter.workers.set(len(self._answering))
        if not self._begun.is_set():
            self._show(served)
            self._news.put(None)
        elif self._config.repository:
            self._look(even_unloaded=False)

    def _look(self, *, even_unloaded: bool = True) -> None:
        with self._changing:
            if even_unloaded:
                self._unloaded.clear()
            self._everywhere("look", frozenset(self._unloaded))

    def load(self, name: str) -> None:
        """Everywhere, before anything else is."""
        with self._changing:
            self._unloaded.discard(name)
            self._everywhere("load", name)

    def unload(self, name: str) -> None:
        """Everywhere, before anything else is."""
        with self._changing:
            self._everywhere("unload", name)
            self._unloaded.add(name)

    def statistics(self, of: list[tuple[str, str]]) -> list[list[bytes]]:
        """What each has done with these models."""
        return self._ask("statistics", of)

    def _everywhere(self, change: str, about: Any) -> None:
        for served in self._ask(change, about):
            self._show(served)

    def _ask(self, question: str, about: Any) -> list[Any]:
        """The answers of all at once; the first error after all have answered. Who ends has none to give."""
        with self._lock:
            asked = list(self._answering.values())
        with ThreadPoolExecutor(max(len(asked), 1)) as pool:
            futures = [pool.submit(process.line.ask, question, about) for process in asked]
        answers, errors = [], []
        for future in futures:
            with suppress(EOFError, OSError):
                try:
                    answers.append(future.result())
                except CloudError as error:
                    errors.append(error)
        if errors:
            raise errors[0]
        return answers

    def _show(self, served: Served) -> None:
        names = {name for name, *_ in served}
        for name in {name for name, *_ in self._served} - names:
            self._meter.withdraw(name)
        for model in served:
            self._meter.announce(*model)
        self._served = served


class Watched:
    """What a worker asks of its supervisor, and what is known of it."""

    def __init__(self, workers: Workers, process: Process) -> None:
        self.reason, self.ready = "", False
        self._workers, self._process = workers, process
        self._behaviours: dict[str, Callable[..., Any]] = {
            "alive": lambda: None,
            "failed": self._failed,
            "ready": self._ready,
            "load": workers.load,
            "unload": workers.unload,
            "statistics": workers.statistics,
        }

    def behave(self, question: str, *about: Any) -> Any:
        """The answer to what it asks."""
        return self._behaviours[question](*about)

    def _failed(self, reason: str) -> None:
        self.reason = reason

    def _ready(self, served: Served) -> None:
        self.ready = True
        self._workers.joined(self._process, served)


@contextmanager
def serve(config: CloudConfig, meter: Meter) -> Iterator[Workers]:
    """Answer in several processes while inside; ``StartError`` if they cannot, or cannot any more."""
    with ExitStack() as held:
        config = _hold(config, held)
        folder = Path(held.enter_context(TemporaryDirectory(prefix="tidegate-", dir=_memory())))
        workers = Workers(config, meter, folder)
        meter.shown = Merged(meter, folder, workers.pids)
        try:
            workers.start()
            yield workers
        finally:
            workers.close()
        if workers.failure:
            raise workers.failure


def _hold(config: CloudConfig, held: ExitStack) -> CloudConfig:
    """Settings of a worker: every port is one that nobody else can have while they share it."""
    sections = {"server": config.server, "rest": config.rest, "health": config.health}
    ports: dict[str, Any] = {"fleet": None, "dashboard": None}
    for name, section in sections.items():
        if section:
            holder = held.enter_context(listening.hold(name, section.host, section.port))
            ports[name] = replace(section, port=holder.getsockname()[1])
    return replace(config, **ports)


def _memory() -> Path | None:
    """Where files lie in memory, if that is to be had here."""
    return _MEMORY if os.access(_MEMORY, os.W_OK) else None
