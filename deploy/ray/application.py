"""The cloud server's models as replicas of Ray Serve: its proxy carries the calls, our inference answers.

A replica runs what our own server runs behind its port, from bytes to bytes: same errors, same metadata.
"""

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from msgspec.structs import replace
from ray import serve

from cloud_server import config
from cloud_server.calls import serving
from cloud_server.calls.handlers import Handlers
from cloud_server.calls.servicer import SERVICE, InferenceServicer
from cloud_server.inference.runs import Watchdog
from cloud_server.metrics import Meter
from deploy.ray.call import Context, Refused, Reply
from protos import inference_pb2 as pb
from protos.identity import STREAMING
from protos.inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server

METHODS = ("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelInfer")
"""What every replica answers alike."""
OWN = {"model_repository", "statistics", STREAMING}
"""Extensions that one replica among others cannot answer for all: they are not offered."""

Answer = Callable[[bytes, Any], bytes]


def add_to_proxy(servicer: Any, server: Any) -> None:
    """What Ray's proxy is to carry, unread: a replica reads it, so that garbage is its caller's error."""
    handlers: dict[str, Any] = {
        name: grpc.unary_unary_rpc_method_handler(getattr(servicer, name)) for name in METHODS
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    server.add_registered_method_handlers(SERVICE, handlers)


def build(arguments: Mapping[str, str]) -> Any:
    """The application; ``settings``: our server's file, on every node that has a replica."""
    return CloudServer.bind(arguments["settings"])


class Replica:
    """The models of one settings file. What concerns ports in it is Ray's business."""

    def __init__(self, settings: str) -> None:
        self._answers, self._threads = _answers(config.load(Path(settings)))

    async def _answer(self, name: str, request: bytes, grpc_context: Any) -> Reply:
        call = partial(self._answers[name], request, Context(grpc_context))
        try:
            return Reply(await asyncio.get_running_loop().run_in_executor(self._threads, call))
        except Refused:
            return Reply()


def _method(name: str) -> Callable[..., Any]:
    """What Ray looks for: a method of the call's name with these two arguments."""

    async def call(self: Replica, request: bytes, grpc_context: Any) -> Reply:
        return await self._answer(name, request, grpc_context)

    return call


for _name in METHODS:
    setattr(Replica, _name, _method(_name))
CloudServer = serve.deployment(Replica, name="CloudServer")


class _Servicer(InferenceServicer):
    """One of many."""

    def ServerMetadata(self, request: Any, context: Any) -> pb.ServerMetadataResponse:  # noqa: N802
        """Without what is not offered."""
        said = super().ServerMetadata(request, context)
        said.extensions[:] = [name for name in said.extensions if name not in OWN]
        return said


class _Registered:
    """In place of a gRPC server: keeps what is registered."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, _: Any) -> None:
        """The same once more, for older versions of gRPC."""

    def add_registered_method_handlers(self, _: str, handlers: Mapping[str, Any]) -> None:
        self.handlers |= handlers


def _answers(settings: config.CloudConfig) -> tuple[dict[str, Answer], Handlers]:
    """How our server answers each method, in which threads; one run at a time, unless it is told."""
    server = replace(settings.server, threads=settings.server.threads or 1)
    settings, registered = replace(settings, server=server), _Registered()
    parts = serving.assemble(settings, Meter(), servicer=_Servicer)
    Watchdog(parts.catalogue.repository).start()
    add_GRPCInferenceServiceServicer_to_server(parts.servicer, registered)

    def answer(name: str) -> Answer:
        handler: Any = parts.interceptor.around(f"/{SERVICE}/{name}", registered.handlers[name])
        return handler.unary_unary  # type: ignore[no-any-return]

    return {name: answer(name) for name in METHODS}, parts.handlers
