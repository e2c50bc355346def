"""The composition root: models, fleet and metrics in one ``with``, until SIGTERM."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

from cloud_server import listening, meters, metrics
from cloud_server.config import CloudConfig
from cloud_server.inference.repository import Repository
from cloud_server.metrics import Meter

_TICK = 1.0
"""Seconds between looks at signals."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    address: str
    """Of inference; empty without models."""
    metrics_url: str
    repository: Repository
    meter: Meter
    reload: Callable[[], None] | None
    """Reads the folder of models anew, beside all that goes on."""
    fleet: str
    """Whose results go where; empty if nobody's."""
    dashboard: str
    """Address of the page; empty without one."""


@dataclass(frozen=True)
class Checked:
    """A server that could run."""

    repository: Repository
    fleet: str
    """As in ``Running``."""


def run(config: CloudConfig, ready: Callable[[Running], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second one ends the process at once."""
    with serve(config) as running:
        if config.repository and (reload := running.reload):
            signal.signal(signal.SIGHUP, lambda _, __: reload())
        stop = _signals()
        ready(running)
        log.info("%s: draining", _first(stop).name)


def check(config: CloudConfig) -> Checked:
    """Everything that ``serve`` does before it answers; raises what it would raise."""
    listening.require_free("metrics", config.metrics.host, config.metrics.port)
    repository, fleet = Repository(), ""
    if config.serves_models:
        from cloud_server.inference import serving as inference

        repository = inference.check(config).repository
    if config.fleet:
        from cloud_server.fleet import serving as results

        fleet = results.check(config.fleet)
    if config.dashboard:
        from cloud_server.dashboard import serving as page

        page.check(config.dashboard)
    return Checked(repository, fleet)


@contextmanager
def serve(config: CloudConfig) -> Iterator[Running]:
    """Serve while inside: what has no section in the settings is not even loaded."""
    meter = Meter()
    address, repository, fleet, dashboard = "", Repository(), "", ""
    reload: Callable[[], None] | None = None
    with ExitStack() as parts:
        port = parts.enter_context(metrics.serve(meter, config.metrics))
        if config.fleet:
            from cloud_server.fleet import serving as results

            serving = parts.enter_context(results.serve(config.fleet, meter))
            fleet = serving.line
            if config.dashboard:
                from cloud_server.dashboard import serving as page

                dashboard = parts.enter_context(page.serve(config.dashboard, serving))
        if config.serves_models:
            from cloud_server.inference import serving as inference

            address, catalogue = parts.enter_context(inference.serve(config, meter))
            repository, reload = catalogue.repository, catalogue.reload
        parts.enter_context(meters.running(config, meter, address))
        url = f"http://{listening.address(config.metrics.host, port)}/metrics"
        yield Running(address, url, repository, meter, reload, fleet, dashboard)


def _first(received: SimpleQueue[signal.Signals]) -> signal.Signals:
    """What arrives first. A signal just before a wait does not end it, hence more than one wait."""
    while True:
        with suppress(Empty):
            return received.get(timeout=_TICK)


def _signals() -> SimpleQueue[signal.Signals]:
    """A queue in which the first SIGTERM or SIGINT arrives; after it they have their default effect."""
    received: SimpleQueue[signal.Signals] = SimpleQueue()

    def receive(number: int, _: object) -> None:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, signal.SIG_DFL)
        received.put(signal.Signals(number))

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, receive)
    return received
