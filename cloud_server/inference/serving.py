"""Models over gRPC, with health and reflection, in one ``with``."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext

import grpc

from cloud_server import listening, probes
from cloud_server.config import CloudConfig
from cloud_server.inference import loading
from cloud_server.inference.answering import Answering
from cloud_server.inference.interceptors import Interceptor
from cloud_server.inference.repository import Repository
from cloud_server.inference.servicer import InferenceServicer
from cloud_server.metrics import Meter
from protos.inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server


@contextmanager
def serve(config: CloudConfig, meter: Meter) -> Iterator[tuple[str, Repository]]:
    """Answer while inside; gives the address and the models.

    On leaving: say not serving, answer what is under way, stop.
    """
    repository = loading.load(config.models, meter)
    runs = config.server.threads or os.cpu_count() or 1
    answering = Answering(repository, runs)
    with ThreadPoolExecutor(runs, "inference") as pool:
        server = grpc.server(pool, interceptors=[Interceptor(meter)], options=_options(repository))
        servicer = InferenceServicer(answering, meter)
        add_GRPCInferenceServiceServicer_to_server(servicer, server)
        withdraw = probes.add(server, (model.card.name for model in repository))
        port = listening.open_port(server, config)
        server.start()
        try:
            with _rest(config, servicer, answering, meter):
                yield listening.address(config.server.host, port), repository
        finally:
            withdraw()
            servicer.ModelStreamInfer.close()
            server.stop(config.server.grace).wait()
            for model in repository:
                model.stop()


def check(config: CloudConfig) -> Repository:
    """Everything that ``serve`` does before it answers; raises what it would raise."""
    listening.prepare(config)
    if config.rest:
        from cloud_server.rest import serving

        serving.check(config, config.rest)
    return loading.load(config.models, Meter())


def _rest(
    config: CloudConfig, servicer: InferenceServicer, answering: Answering, meter: Meter
) -> AbstractContextManager[object]:
    """The same over HTTP, where the settings say so."""
    if config.rest is None:
        return nullcontext()
    from cloud_server.rest import serving

    return serving.serve(config, servicer, answering, meter)


def _options(repository: Repository) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", repository.request_bytes),
        ("grpc.keepalive_time_ms", 60_000),  # an open stream of a client that is gone ends
        ("grpc.so_reuseport", 0),  # else a second server would quietly share the port
    ]
