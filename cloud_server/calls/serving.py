"""Models over gRPC, with health and reflection, in one ``with``."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

import grpc

from cloud_server import listening, probes
from cloud_server.access.callers import Login
from cloud_server.access.rights import Rights
from cloud_server.calls import front
from cloud_server.calls.door import Door
from cloud_server.calls.exchange import Exchange
from cloud_server.calls.hall import Hall
from cloud_server.calls.handlers import Handlers
from cloud_server.calls.interceptors import INFER, STREAM, Interceptor
from cloud_server.calls.servicer import InferenceServicer
from cloud_server.calls.singles import Singles
from cloud_server.config import CloudConfig
from cloud_server.inference import loading
from cloud_server.inference.answering import Answering
from cloud_server.inference.catalogue import Catalogue
from cloud_server.inference.company import Alone, Company
from cloud_server.inference.limits import LARGEST
from cloud_server.inference.repository import Repository
from cloud_server.metrics import Meter
from cloud_server.probes import Health
from protos.inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server


@contextmanager
def serve(config: CloudConfig, meter: Meter, company: Company = Alone) -> Iterator[tuple[str, Catalogue]]:
    """Answer while inside; gives the address and the models.

    On leaving: say not serving, answer what is under way, stop.
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
        with probes.apart(health, config.health):
            front.start(server, parts.begin, parts.answering.runs, parts.answering.before_waiting)
            try:
                with _rest(config, servicer, parts.answering, meter, login):
                    yield listening.address(config.server.host, port), catalogue
            finally:
                health.withdraw()
                servicer.ModelStreamInfer.close()
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

    @property
    def begin(self) -> dict[str, Callable[[Exchange], None]]:
        """By method, what takes the calls that need no thread to wait in."""
        return {INFER: self.singles.begin, STREAM: self.servicer.ModelStreamInfer.begin}


def assemble(
    config: CloudConfig, meter: Meter, company: Company = Alone, servicer: Any = InferenceServicer
) -> Parts:
    """The models, loaded, and the way to them; ``StartError`` if they cannot be."""
    login = Login(config, meter)
    rights = Rights(config.access, named=login.required, meter=meter)
    catalogue = loading.load(config)
    runs = config.server.threads or _runs(config.server.workers)
    most = runs + config.server.queue
    answering = Answering(catalogue.repository, runs, meter, rights, config)
    hall = Hall[Any](runs)
    answering.after(hall)
    meter.under_way.append(hall)
    door = Door(hall, 2 * runs, most, meter)
    interceptor = Interceptor(meter, login, door)
    service = servicer(answering, company(catalogue, answering.statistics), meter, login)
    singles = Singles(door, hall, interceptor.single(service.ModelInfer))
    return Parts(login, catalogue, answering, service, singles, Handlers(most, hall), interceptor)


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


def _options(config: CloudConfig, repository: Repository) -> list[tuple[str, int]]:
    return [
        (
            "grpc.max_receive_message_length",
            max(repository.request_bytes, LARGEST if config.repository else 0),
        ),
        ("grpc.keepalive_time_ms", 60_000),  # an open stream of a client that is gone ends
        ("grpc.so_reuseport", listening.shared(config.server.port)),
    ]
