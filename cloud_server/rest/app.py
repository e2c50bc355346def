"""What answers where, over HTTP. The tables of errors and of metrics are those of gRPC."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Executor
from contextvars import copy_context
from functools import partial
from typing import Any

import grpc
import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from cloud_server.access.callers import NOBODY, OPEN, Acting, Caller, Login
from cloud_server.backoff import pause
from cloud_server.calls.interceptors import UNKNOWN
from cloud_server.calls.servicer import SERVICE
from cloud_server.errors import (
    BadInput,
    Expired,
    Full,
    Gone,
    Late,
    Overloaded,
    Stopping,
    TooLarge,
    UnknownModel,
)
from cloud_server.inference import limits
from cloud_server.inference.answering import Answering
from cloud_server.metrics import Called, Meter
from cloud_server.refusal import refusal
from cloud_server.rest import body as bodies
from protos import inference_pb2 as pb
from protos.identity import MODEL_SHA256

_HTTP = {
    grpc.StatusCode.OK: 200,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
"""The status over HTTP of one over gRPC; 500 for any other."""
_BY_ERROR: dict[type[Exception], int] = {TooLarge: 413, Full: 503, Late: 503}
"""Where gRPC has one status for what are two over HTTP."""
MOST = 64
"""Requests under way at once, health apart; any other is refused at once, unread."""
PATIENCE = 30.0
"""Seconds that a body may take to come: who says that it is longer than it is holds a place for no longer."""
_SPLIT = "Inference-Header-Content-Length"

_MODEL = "/v2/models/{of}"
_CALLS: tuple[tuple[str, str, str, Any], ...] = (
    ("GET", "/v2", "ServerMetadata", pb.ServerMetadataRequest),
    ("GET", "/v2/health/live", "ServerLive", pb.ServerLiveRequest),
    ("GET", "/v2/health/ready", "ServerReady", pb.ServerReadyRequest),
    ("GET", "/v2/models/stats", "ModelStatistics", pb.ModelStatisticsRequest),
    ("GET", _MODEL, "ModelMetadata", pb.ModelMetadataRequest),
    ("GET", f"{_MODEL}/ready", "ModelReady", pb.ModelReadyRequest),
    ("GET", f"{_MODEL}/stats", "ModelStatistics", pb.ModelStatisticsRequest),
    ("POST", "/v2/repository/index", "RepositoryIndex", pb.RepositoryIndexRequest),
    ("POST", "/v2/repository/models/{model}/load", "RepositoryModelLoad", pb.RepositoryModelLoadRequest),
    (
        "POST",
        "/v2/repository/models/{model}/unload",
        "RepositoryModelUnload",
        pb.RepositoryModelUnloadRequest,
    ),
)
"""All calls but inference: verb, path, the servicer's method, its request."""

Handler = Callable[[Request], Awaitable[Response]]
Unpacked = Callable[[int], bytes]
"""A body, if it is not more than so many bytes. Unpacking takes its time: not for the thread that reads."""
_NOTHING: Unpacked = partial(bodies.unpacked, b"", bodies.PLAIN)


class Headers:
    """What a servicer needs of a gRPC context: its metadata become headers."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    def set_trailing_metadata(self, metadata: Iterable[tuple[str, str]]) -> None:
        """As in gRPC."""
        self.headers.update(metadata)


class Rest:
    """The calls of the protocol, by a gRPC servicer: one core behind two skins."""

    def __init__(
        self, servicer: Any, answering: Answering, meter: Meter, pool: Executor, login: Login
    ) -> None:
        self._servicer, self._answering, self._meter, self._pool = servicer, answering, meter, pool
        self._login, self._places = login, asyncio.Semaphore(MOST)

    async def infer(self, request: Request) -> Response:
        """One inference; the facts of the answer are headers."""
        unpacked = await self._body(request, self._answering.repository.request_bytes)
        work = partial(self._infer, request.path_params, unpacked, _number(request, _SPLIT))
        answer: Response = await self._aside(work)
        return answer

    def _infer(self, path: Mapping[str, str], unpacked: Unpacked, size: int | None) -> Response:
        model, version = path["model"], path.get("version", "")
        self._answering.rights.require_model(model)
        card = self._answering.repository.get(model, version).card
        body = unpacked(limits.request_bytes(card))
        text = len(body) if size is None else size
        limits.check_json(card, text)
        asked, question = bodies.read(model, version, body, text)
        answer = self._answering.answer(question)
        content, split = bodies.write(asked, answer)
        facts = {MODEL_SHA256: answer.card.sha256, **answer.timing}
        if split is None:
            return Response(content, headers=facts, media_type="application/json")
        headers = {_SPLIT: str(split), **facts}
        return Response(content, headers=headers, media_type="application/octet-stream")

    def call(self, method: str, message: Any) -> Handler:
        """Any other call: model and version in the path fill the request, and what a body says."""
        names = message.DESCRIPTOR.fields_by_name

        async def call(request: Request) -> Response:
            most = limits.HEADERS
            unpacked = await self._body(request, most) if request.method == "POST" else _NOTHING
            context, behave = Headers(), getattr(self._servicer, method)

            def work() -> Any:
                given = _given(request.path_params) | bodies.said(unpacked(most))
                filled = {field: value for field, value in given.items() if field in names}
                return behave(message(**filled), context)

            answer = await self._aside(work)
            return _json(_flat(method, _plain(answer)), headers=context.headers)

        return call

    async def _aside(self, work: Callable[[], Any]) -> Any:
        """What it gives, from another thread, for the same caller."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, copy_context().run, work)

    async def _body(self, request: Request, most: int) -> Unpacked:
        """All of it; what is too large, as it comes, is refused before it is read."""
        packing = _packing(request)
        if (_number(request, "content-length") or 0) > most:
            raise TooLarge("the body", most)
        parts, size = list[bytes](), 0
        try:
            async with asyncio.timeout(PATIENCE):
                async for part in request.stream():
                    parts.append(part)
                    size += len(part)
                    if size > most:
                        raise TooLarge("the body", most)
        except ClientDisconnect:
            raise Gone from None
        except TimeoutError:
            raise Expired(f"the body did not come within {PATIENCE:g} s") from None
        self._meter.received.inc(size)
        return partial(bodies.unpacked, b"".join(parts), packing)

    async def _placed(self, answer: Handler, request: Request) -> Response:
        """The same, if there is room."""
        if self._places.locked():
            self._meter.shed_by["queue"].inc()
            raise Full(f"{MOST} requests are under way", pause(0))
        async with self._places:
            try:
                return await answer(request)
            except asyncio.CancelledError:  # the grace is over
                raise Stopping from None

    def counted(self, method: str, answer: Handler) -> Handler:
        """The same for whoever calls, counted, with an error turned into its status."""
        who: Callable[[Mapping[str, Any]], Caller] = self._login.of_http
        if f"/{SERVICE}/{method}" in OPEN:
            who = _nobody
        else:
            answer = partial(self._placed, answer)

        async def counted(request: Request) -> Response:
            start, meter, code = time.perf_counter(), self._meter, grpc.StatusCode.OK
            with meter.inside:
                try:
                    with Acting(who(request.scope)):
                        response = await answer(request)
                except Exception as error:  # noqa: BLE001 - nothing but a status leaves the server
                    code, reason = refusal(error)
                    status = _BY_ERROR.get(type(error)) or _HTTP.get(code, 500)
                    response = _json({"error": reason}, status, _hints(code, error))
            meter.request_of(f"REST {method}", code.name).inc()
            meter.called(Called(f"REST {method}", 0, len(response.body), time.perf_counter() - start))
            return response

        return counted

    async def unknown(self, request: Request, error: Any) -> Response:
        """There is no such path, or it is not for this verb, says Starlette's ``HTTPException``."""
        self._meter.request_of(f"REST {UNKNOWN}", grpc.StatusCode.UNIMPLEMENTED.name).inc()
        reason = f"{request.method} {request.url.path[:200]}: there is no such call"
        return _json({"error": reason}, error.status_code, error.headers)


def app(servicer: Any, answering: Answering, meter: Meter, pool: Executor, login: Login) -> Starlette:
    """The application over a ``GRPCInferenceService``."""
    rest = Rest(servicer, answering, meter, pool, login)
    calls: list[tuple[str, str, str, Handler]] = [("POST", f"{_MODEL}/infer", "ModelInfer", rest.infer)]
    calls += [(verb, path, method, rest.call(method, message)) for verb, path, method, message in _CALLS]
    return Starlette(
        routes=[
            Route(path.replace("{of}", of), rest.counted(method, answer), methods=[verb])
            for verb, path, method, answer in calls
            for of in (("{model}", "{model}/versions/{version}") if "{of}" in path else ("",))
        ],
        exception_handlers={HTTPException: rest.unknown},
    )


def _given(path: Mapping[str, str]) -> dict[str, Any]:
    """Fields of a request, by its path."""
    model, version = path.get("model", ""), path.get("version", "")
    return {"name": model, "model_name": model, "version": version}


def _nobody(_: Mapping[str, Any]) -> Caller:
    return NOBODY


def _hints(code: grpc.StatusCode, error: Exception) -> dict[str, str]:
    """Headers that say how to be served after all."""
    if code is grpc.StatusCode.UNAUTHENTICATED:
        return {"WWW-Authenticate": "Bearer"}
    if isinstance(error, Overloaded) and error.pushback is not None:
        return {"Retry-After": str(math.ceil(error.pushback))}
    return {}


def _flat(method: str, answer: dict[str, Any]) -> Any:
    """As HTTP has it: a list of models, and a status beside a boolean, since not every client reads both."""
    if answer == {"ready": False}:
        raise UnknownModel("it is not ready")
    return answer["models"] if method == "RepositoryIndex" else answer or None


def _plain(message: Any) -> Any:
    """A message as JSON's values: every field, and numbers as numbers."""
    if not hasattr(message, "DESCRIPTOR"):
        return message
    return {field.name: _value(field, getattr(message, field.name)) for field in message.DESCRIPTOR.fields}


def _value(field: Any, value: Any) -> Any:
    if field.message_type and field.message_type.GetOptions().map_entry:
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if field.is_repeated else _plain(value)


def _json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    content = b"" if value is None else msgspec.json.encode(value)
    return Response(content, status, headers, media_type="application/json")


def _packing(request: Request) -> str:
    packing = request.headers.get("content-encoding", bodies.PLAIN).lower()
    if packing not in (bodies.PLAIN, *bodies.PACKED):
        raise BadInput(
            f"Content-Encoding: {packing[:40]!r} is not unpacked here: send gzip, deflate or plain"
        )
    return packing


def _number(request: Request, header: str) -> int | None:
    text = request.headers.get(header)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise BadInput(f"{header}: {text[:40]!r} is no number")
    return int(text)
