"""The composition root: models, fleet and metrics in one ``with``, until SIGTERM."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from cloud_server import listening, meters, metrics, stopping
from cloud_server.config import CloudConfig
from cloud_server.inference.repository import Repository
from cloud_server.metrics import Meter

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    address: str
    """Of inference; empty without models."""
    metrics_url: str
    models: tuple[str, ...]
    """Name and version of each."""
    workers: int
    """Processes that answer."""
    repository: Repository
    """Of a server that is one process; workers have theirs for themselves."""
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
    absent: tuple[str, ...]
    """What is said of models that the settings name and that are not here."""


def run(config: CloudConfig, ready: Callable[[Running], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second one ends the process at once."""
    with serve(config) as running:
        if config.repository and (reload := running.reload):
            signal.signal(signal.SIGHUP, lambda _, __: reload())
        stop = stopping.signals()
        ready(running)
        log.info("%s: draining", stopping.first(stop).name)


def check(config: CloudConfig) -> Checked:
    """Everything that ``serve`` does before it answers; raises what it would raise."""
    listening.require_apart(config)
    listening.require_free("metrics", config.metrics.host, config.metrics.port)
    repository, fleet, missing = Repository(), "", tuple[str, ...]()
    if config.serves_models:
        from cloud_server.calls import serving as inference
        from cloud_server.inference.absent import absent

        catalogue = inference.check(config)
        repository, missing = catalogue.repository, tuple(absent(config, catalogue))
    if config.fleet:
        from cloud_server.fleet import serving as results

        fleet = results.check(config.fleet)
    if config.dashboard:
        from cloud_server.dashboard import serving as page

        page.check(config.dashboard)
    return Checked(repository, fleet, missing)


@contextmanager
def serve(config: CloudConfig) -> Iterator[Running]:
    """Serve while inside: what has no section in the settings is not even loaded."""
    listening.require_apart(config)
    meter = Meter()
    address, models, fleet, dashboard = "", tuple[str, ...](), "", ""
    repository, reload = Repository(), None
    with ExitStack() as parts:
        port = parts.enter_context(metrics.serve(meter, config.metrics))
        if config.fleet:
            from cloud_server.fleet import serving as results

            serving = parts.enter_context(results.serve(config.fleet, meter))
            fleet = serving.line
            if config.dashboard:
                from cloud_server.dashboard import serving as page

                dashboard = parts.enter_context(page.serve(config.dashboard, serving))
        if config.serves_models and config.server.workers > 1:
            from cloud_server.workers import supervisor

            workers = parts.enter_context(supervisor.serve(config, meter))
            address, models, reload = workers.address, workers.models, workers.reload
            parts.enter_context(meters.running(config, meter, ""))  # workers count their own sockets
        elif config.serves_models:
            from cloud_server.calls import serving as inference

            address, catalogue = parts.enter_context(inference.serve(config, meter))
            repository, reload = catalogue.repository, catalogue.reload
            models = tuple(f"{model.card.name} {model.card.version}" for model in repository)
            parts.enter_context(meters.running(config, meter, address))
        url = f"http://{listening.address(config.metrics.host, port)}/metrics"
        yield Running(
            address, url, models, config.server.workers, repository, meter, reload, fleet, dashboard
        )
