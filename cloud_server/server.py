"""The composition root: models, gRPC, health and metrics in one ``with``, until SIGTERM."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue

import grpc

from cloud_server import listening, metrics, probes
from cloud_server.config import CloudConfig
from cloud_server.inference import loading
from cloud_server.inference.interceptors import Interceptor
from cloud_server.inference.repository import Repository
from cloud_server.inference.servicer import InferenceServicer
from cloud_server.metrics import Meter
from protos.inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server

_TICK = 1.0
"""Seconds between looks at signals."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    address: str
    metrics_url: str
    repository: Repository
    meter: Meter


def run(config: CloudConfig, ready: Callable[[Running], None]) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second one ends the process at once."""
    with serve(config) as running:
        stop = _signals()
        ready(running)
        log.info("%s: draining", _first(stop).name)


def check(config: CloudConfig) -> Repository:
    """Everything that ``serve`` does before it answers; raises what it would raise."""
    listening.prepare(config)
    listening.require_free("metrics", config.metrics.host, config.metrics.port)
    return loading.load(config.models, Meter())


@contextmanager
def serve(config: CloudConfig) -> Iterator[Running]:
    """Serve while inside. On leaving: say not serving, answer what is under way, stop."""
    meter = Meter()
    repository = loading.load(config.models, meter)
    with ThreadPoolExecutor(config.server.threads or os.cpu_count() or 1, "inference") as pool:
        server = grpc.server(pool, interceptors=[Interceptor(meter)], options=_options(repository))
        add_GRPCInferenceServiceServicer_to_server(InferenceServicer(repository), server)
        withdraw = probes.add(server, (model.card.name for model in repository))
        port = listening.open_port(server, config)
        with metrics.serve(meter, config.metrics) as metrics_port:
            server.start()
            try:
                yield Running(
                    listening.address(config.server.host, port),
                    f"http://{listening.address(config.metrics.host, metrics_port)}/metrics",
                    repository,
                    meter,
                )
            finally:
                withdraw()
                server.stop(config.server.grace).wait()
                for model in repository:
                    model.stop()


def _options(repository: Repository) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", repository.request_bytes),
        ("grpc.so_reuseport", 0),  # else a second server would quietly share the port
    ]


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
