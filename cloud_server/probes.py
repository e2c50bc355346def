"""What others ask about the server itself: health and reflection.

Both answer from threads of their own. A probe must not wait behind inference, and a reflection
stream, which holds a thread for as long as its client likes, must not take one from it.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from cloud_server.inference.servicer import SERVICE
from protos import inference_pb2


def add(server: grpc.Server, models: Iterable[str]) -> Callable[[], None]:
    """Health, overall, of the service and of each model, all serving; and reflection.

    Call what comes back before the server stops: nothing is serving from then on.
    """
    servicer = _health([health.OVERALL_HEALTH, SERVICE, *models])
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(_reflection(), server)
    withdraw: Callable[[], None] = servicer.enter_graceful_shutdown
    return withdraw


def _health(services: Iterable[str]) -> Any:
    pool = ThreadPoolExecutor(1, "health")
    servicer = health.HealthServicer(experimental_thread_pool=pool)
    servicer.Check = _aside(servicer.Check, pool)
    for service in services:
        servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
    return servicer


def _reflection() -> Any:
    """Our stubs live in a pool of their own: reflection gets one in which all services are."""
    pool = DescriptorPool()
    for module in (inference_pb2, health_pb2, reflection_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    services = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    servicer = reflection.ReflectionServicer(services, pool)
    servicer.ServerReflectionInfo = _aside(servicer.ServerReflectionInfo, ThreadPoolExecutor(1, "reflection"))
    return servicer


def _aside(behave: Callable[..., Any], pool: ThreadPoolExecutor) -> Callable[..., Any]:
    """The same behaviour, run by ``pool``."""

    @wraps(behave)
    def call(*args: Any) -> Any:
        return behave(*args)

    call.experimental_thread_pool = pool  # type: ignore[attr-defined] # grpc's way to say it
    return call
