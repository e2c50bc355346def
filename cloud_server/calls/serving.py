"""Models over gRPC, with health and reflection, in one ``with``."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import ceil
from operator import attrgetter
from typing import Any

import grpc

from cloud_server import listening, probes
from cloud_server.access.callers import Login
from cloud_server.access.certificates import out_of_date
from cloud_server.access.rights import Rights
from cloud_server.calls import front
from cloud_server.calls.arrivals import Arrivals
from cloud_server.calls.aside import Aside
from cloud_server.calls.door import Door
from cloud_server.calls.exchange import Exchange
from cloud_server.calls.hall import Hall
from cloud_server.calls.handlers import Handlers
from cloud_server.calls.interceptors import INFER, STREAM, Interceptor
from cloud_server.calls.servicer import InferenceServicer
from cloud_server.calls.singles import Singles
from cloud_server.config import CloudConfig
from cloud_server.inference import loading
from cloud_server.inference.absent import absent
from cloud_server.inference.answering import Answering
from cloud_server.inference.catalogue import Catalogue
from cloud_server.inference.company import Alone, Company
from cloud_server.inference.limits import LARGEST
from cloud_server.inference.repository import Repository
from cloud_server.inference.runs import Watchdog
from cloud_server.metrics import Meter
from cloud_server.probes import Health
from protos.inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server

COMING = 256 << 20
"""Bytes that messages on slow ways may take together while they come."""

log = logging.getLogger(__name__)


@contextmanager
def serve(config: CloudConfig, meter: Meter, company: Company = Alone) -> Iterator[tuple[str, Catalogue]]:
    """Answer while inside; gives the address and the models.

    On leaving: say not serving, answer what is under way, over gRPC and HTTP at once, stop.
    """
    parts = assemble(config, meter, company)
    login, catalogue, servicer = parts.login, parts.catalogue, parts.servicer
    repository = catalogue.repository
    with parts.handlers as handlers:
        server = grpc.server(handlers, interceptors=[parts.interceptor], options=_options(config, repository))
        add_GRPCInferenceServiceServicer_to_server(servicer, server)
        health = probes.add(server, login, parts.answering.rights)
        catalogue.watch(partial(_tell, health, meter, repository))
        port = listening.open_port(server, config, login.certificates, meter.handshakes.labels("grpc").inc)
        with probes.apart(health, config.health), Watchdog(repository):
            front.start(server, parts.begin, parts.answering.runs, parts.answering.before_waiting)
            try:
                with _rest(config, servicer, parts.answering, meter, login):
                    try:
                        yield listening.address(config.server.host, port), catalogue
                    finally:
                        health.withdraw()
                        servicer.ready = False
                        servicer.ModelStreamInfer.close()
                        server.stop(config.server.grace)  # it drains while the other does
            finally:
                server.stop(config.server.grace).wait()
                repository.stop()


@dataclass(frozen=True)
class Parts:
    """What answers calls, whoever carries them here."""

    login: Login
    catalogue: Catalogue
    answering: Answering
    servicer: InferenceServicer
    singles: Singles
    handlers: Handlers
    interceptor: Interceptor

    def begin(self, method: str, handler: Any) -> Callable[[Exchange], None] | None:
        """What takes the calls of a method: no thread waits for what they send."""
        if method == INFER:
            return self.singles.begin
        if method == STREAM:
            begin: Callable[[Exchange], None] = self.servicer.ModelStreamInfer.begin
            return begin
        if handler.unary_unary is None:
            return None
        around: Any = self.interceptor.around(method, handler)
        return Aside(around.unary_unary).begin


def assemble(
    config: CloudConfig, meter: Meter, company: Company = Alone, servicer: Any = InferenceServicer
) -> Parts:
    """The models, loaded, and the way to them; ``StartError`` if they cannot be."""
    login = Login(config, meter)
    if problem := out_of_date(config.tls):
        log.warning("%s", problem)
    rights = Rights(config.access, named=login.required, meter=meter)
    catalogue = loading.load(config)
    for line in absent(config, catalogue):
        log.warning("%s", line)
    runs = config.server.threads or _runs(config.server.workers)
    most = runs + config.server.queue
    answering = Answering(catalogue.repository, runs, meter, rights, config)
    room = answering.room
    hall = Hall[Exchange](runs, room)
    arrivals = Arrivals[Exchange](room, max(most, COMING // _largest(config, catalogue.repository)))
    answering.after(hall)
    handlers = Handlers(most, room)
    meter.under_way += hall, arrivals, handlers
    door = Door(room, 2 * runs, meter)
    interceptor = Interceptor(meter, login, door)
    service = servicer(answering, company(catalogue, answering.statistics), meter, login)
    single = interceptor.single(service.ModelInfer, attrgetter("caller"))
    singles = Singles(login.of_grpc, door, arrivals, hall, single)
    return Parts(login, catalogue, answering, service, singles, handlers, interceptor)


def _runs(workers: int) -> int:
    """One for each core of a worker; one more if no other worker keeps them busy meanwhile."""
    return ceil((os.cpu_count() or 1) / workers) + (workers == 1)


def check(config: CloudConfig) -> Catalogue:
    """Everything that ``serve`` does before it answers; raises what it would raise."""
    Login(config, Meter())
    listening.prepare(config)
    if config.health:
        listening.require_free("health", config.health.host, config.health.port)
    if config.rest:
        from cloud_server.rest import serving

        serving.check(config, config.rest)
    return loading.load(config)


def _tell(health: Health, meter: Meter, repository: Repository, name: str) -> None:
    """A model has come or gone, or is another one."""
    served = repository.versions(name)
    health.tell(name, serving=bool(served))
    if served:
        card = repository.get(name).card
        meter.announce(name, card.version, card.precision, card.sha256)
    else:
        meter.withdraw(name)


def _rest(
    config: CloudConfig, servicer: InferenceServicer, answering: Answering, meter: Meter, login: Login
) -> AbstractContextManager[object]:
    """The same over HTTP, where the settings say so."""
    if config.rest is None:
        return nullcontext()
    from cloud_server.rest import serving

    return serving.serve(config, servicer, answering, meter, login)


def _largest(config: CloudConfig, repository: Repository) -> int:
    """Bytes of a request."""
    return max(repository.request_bytes, LARGEST if config.repository else 0)


def _options(config: CloudConfig, repository: Repository) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", _largest(config, repository)),
        ("grpc.keepalive_time_ms", 60_000),  # an open stream of a client that is gone ends
        ("grpc.so_reuseport", listening.shared(config.server.port)),
    ]
