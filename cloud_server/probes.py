"""What others ask about the server itself: health and reflection.

Both answer from threads of their own. A probe must not wait behind inference, and a reflection
stream, which holds a thread for as long as its client likes, must not take one from it.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import wraps
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from cloud_server import config
from cloud_server.access.callers import Acting, Login
from cloud_server.access.rights import Rights
from cloud_server.calls.aside import aside
from cloud_server.calls.servicer import SERVICE
from cloud_server.errors import Unauthenticated
from cloud_server.listening import address, require_free, shared
from protos import inference_pb2

MOST = 16
"""Calls at once where anybody may ask for health."""
NO_MODEL = "/"
"""The name of none."""


class Health:
    """Overall, of the service and of each model."""

    def __init__(self, servicer: Any) -> None:
        self._servicer = servicer
        self.overall = health.HealthServicer()
        """For who must not hear of more."""
        for service in (health.OVERALL_HEALTH, SERVICE):
            self.tell(service, serving=True)

    def tell(self, service: str, *, serving: bool) -> None:
        """Whether it serves from now on."""
        status = health_pb2.HealthCheckResponse
        self._servicer.set(service, status.SERVING if serving else status.NOT_SERVING)

    def withdraw(self) -> None:
        """Nothing is serving from now on, whatever is told: call it before the server stops."""
        self._servicer.enter_graceful_shutdown()
        self.overall.enter_graceful_shutdown()


def add(server: grpc.Server, login: Login, rights: Rights) -> Health:
    """Health, and reflection."""
    servicer = _health(login, rights)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(_reflection(), server)
    return Health(servicer)


@contextmanager
def apart(told: Health, settings: config.Health | None) -> Iterator[None]:
    """The server's own health, on a port of its own if there is to be one, while inside."""
    if settings is None:
        yield
        return
    require_free("health", settings.host, settings.port)
    options = [("grpc.so_reuseport", shared(settings.port))]
    server = grpc.server(ThreadPoolExecutor(MOST, "health"), options=options, maximum_concurrent_rpcs=MOST)
    health_pb2_grpc.add_HealthServicer_to_server(told.overall, server)
    server.add_insecure_port(address(settings.host, settings.port))
    server.start()
    try:
        yield
    finally:
        server.stop(None).wait()


def _health(login: Login, rights: Rights) -> Any:
    pool = ThreadPoolExecutor(MOST, "health")
    servicer = health.HealthServicer(experimental_thread_pool=pool)
    servicer.Check = aside(_discreet(servicer.Check, login, rights), pool)
    servicer.Watch = _discreet(servicer.Watch, login, rights)
    return servicer


def _discreet(behave: Callable[..., Any], login: Login, rights: Rights) -> Callable[..., Any]:
    """A model that its caller may not know of is one that is not there."""

    @wraps(behave)
    def call(request: Any, context: grpc.ServicerContext, *more: Any, **named: Any) -> Any:
        if request.service not in (health.OVERALL_HEALTH, SERVICE) and not _seen(
            request.service, context, login, rights
        ):
            request = health_pb2.HealthCheckRequest(service=NO_MODEL)
        return behave(request, context, *more, **named)

    return call


def _seen(model: str, context: grpc.ServicerContext, login: Login, rights: Rights) -> bool:
    try:
        caller = login.of_grpc(context)
    except Unauthenticated:
        return False
    with Acting(caller):
        return rights.sees(model)


def _reflection() -> Any:
    """Our stubs live in a pool of their own: reflection gets one in which all services are."""
    pool = DescriptorPool()
    for module in (inference_pb2, health_pb2, reflection_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    services = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    servicer = reflection.ReflectionServicer(services, pool)
    servicer.ServerReflectionInfo = aside(servicer.ServerReflectionInfo, ThreadPoolExecutor(1, "reflection"))
    return servicer
