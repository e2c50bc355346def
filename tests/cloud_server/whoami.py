"""A real server over gRPC and HTTP whose every answer is whom it takes its caller for."""

import http.client
import json
import ssl
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc

from cloud_server import config, listening
from cloud_server.access.callers import Login
from cloud_server.access.rights import Rights
from cloud_server.calls import front
from cloud_server.calls.arrivals import Arrivals
from cloud_server.calls.door import Door
from cloud_server.calls.exchange import Exchange
from cloud_server.calls.hall import Hall
from cloud_server.calls.handlers import Handlers
from cloud_server.calls.interceptors import Interceptor
from cloud_server.calls.servicer import InferenceServicer
from cloud_server.calls.serving import Parts
from cloud_server.calls.singles import Singles
from cloud_server.errors import UnknownModel
from cloud_server.inference.catalogue import Catalogue
from cloud_server.inference.company import Alone
from cloud_server.inference.model import Card
from cloud_server.inference.question import Question
from cloud_server.inference.repository import Repository
from cloud_server.inference.statistics import Statistics
from cloud_server.metrics import Meter
from cloud_server.rest import serving as rest
from cloud_server.room import Room
from protos import inference_pb2 as pb
from protos.inference_pb2_grpc import GRPCInferenceServiceStub, add_GRPCInferenceServiceServicer_to_server
from tests.cloud_server.process import PATIENCE
from tests.ports import free_port

YOU = "you are "
Headers = Sequence[tuple[str, str]]


class Everything(Repository):
    """Has every model, and no more of it than what it says of itself."""

    def get(self, name: str, version: str = "1") -> Any:
        return SimpleNamespace(
            card=Card(name=name, version=version, precision="", sha256="", inputs=(), outputs=())
        )


class Mirror:
    """In the place of ``Answering``."""

    def __init__(self, rights: Rights) -> None:
        self.repository, self.rights = Everything(), rights

    def answer(self, question: Question) -> Any:
        raise UnknownModel(f"{YOU}{question.call.identity}")


@dataclass
class Whoami:
    """Where it is."""

    grpc_port: int
    http_port: int
    meter: Meter

    def refused(self, reason: str) -> float:
        """Callers refused so far for this reason."""
        count: float = self.meter.refused_callers.labels(reason)._value.get()
        return count


@contextmanager
def whoami(**flags: object) -> Iterator[Whoami]:
    """It, while inside; settings by ``section__key``."""
    given = {name.replace("__", "."): value for name, value in flags.items()}
    settings = config.load(None, {"server.port": 0, "rest.port": free_port(), **given})
    meter = Meter()
    login = Login(settings, meter)
    mirror: Any = Mirror(Rights(settings.access, named=login.required, meter=meter))
    catalogue = Catalogue(mirror.repository, None, _none)
    servicer = InferenceServicer(mirror, Alone(catalogue, Statistics(meter)), meter, login)
    room = Room(100)
    door = Door(room, 4, meter)
    interceptor = Interceptor(meter, login, door)
    single = interceptor.single(servicer.ModelInfer, attrgetter("caller"))
    singles = Singles(login.of_grpc, door, Arrivals(room, 100), Hall[Exchange](4, room), single)
    parts = Parts(login, catalogue, mirror, servicer, singles, Handlers(4, room), interceptor)
    with parts.handlers as pool:
        server = grpc.server(pool, interceptors=[interceptor])
        add_GRPCInferenceServiceServicer_to_server(servicer, server)
        port = listening.open_port(server, settings, login.certificates, meter.handshakes.labels("grpc").inc)
        front.start(server, parts.begin, 4, lambda _: None)
        try:
            with rest.serve(settings, servicer, mirror, meter, login) as url:
                yield Whoami(port, int(url.rpartition(":")[2]), meter)
        finally:
            servicer.ModelStreamInfer.close()
            server.stop(None).wait()


def _none(*_: object) -> Any:
    raise AssertionError


def question(pretended: str) -> pb.ModelInferRequest:
    """A request that names somebody wherever it can."""
    request = pb.ModelInferRequest(model_name=pretended, id=pretended)
    for name in ("identity", "caller", "client", "sub"):
        request.parameters[name].string_param = pretended
    return request


def unary(channel: grpc.Channel, request: Any, sent: Headers = ()) -> str:
    """Whom the server takes us for, or the status by which it refuses us."""
    try:
        GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=PATIENCE, metadata=tuple(sent))
    except grpc.RpcError as error:
        refusal: Any = error
        return _told(refusal.code().name, str(refusal.details()))
    raise AssertionError


def streamed(channel: grpc.Channel, request: Any, sent: Headers = ()) -> str:
    """The same over a stream."""
    call = GRPCInferenceServiceStub(channel).ModelStreamInfer
    try:
        (answer,) = call(iter([request]), timeout=PATIENCE, metadata=tuple(sent))
    except grpc.RpcError as error:
        refusal: Any = error
        return str(refusal.code().name)
    return _told("?", answer.error_message.partition(": ")[2])


def over_http(port: int, trust: ssl.SSLContext | None, request: Any, sent: Headers = ()) -> str:
    """The same over HTTP."""
    with closing(connection(port, trust)) as opened:
        return posted(opened, request, sent)


def connection(port: int, trust: ssl.SSLContext | None) -> http.client.HTTPConnection:
    """Opened by the first request."""
    if trust:
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE, context=trust)
    return http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)


def posted(opened: http.client.HTTPConnection, request: Any, sent: Headers = ()) -> str:
    """The same over a connection that there is."""
    named = {name: one.string_param for name, one in request.parameters.items()}
    body = json.dumps({"inputs": [], "id": request.id, "parameters": named})
    opened.putrequest("POST", f"/v2/models/{request.model_name}/infer")
    for name, value in (*sent, ("content-length", str(len(body)))):
        opened.putheader(name, value)
    opened.endheaders(body.encode())
    with opened.getresponse() as answer:
        return _told(str(answer.status), json.loads(answer.read())["error"])


def _told(status: str, reason: str) -> str:
    return reason.removeprefix(YOU) if reason.startswith(YOU) else status


def client_context(ca: Path, cert: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """What a client of HTTP brings."""
    context = ssl.create_default_context(cafile=ca)
    if cert:
        context.load_cert_chain(cert, key)
    return context
