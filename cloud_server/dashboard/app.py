"""The page and its JSON as a web application, and what it says to browsers about itself.

There is no login: it listens on loopback unless told otherwise, and beyond that belongs behind a
proxy that asks for one. Against other pages in the same browser it defends itself.
"""

import ipaddress
import socket
from collections.abc import Callable, Collection
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cloud_server.config import Dashboard
from cloud_server.dashboard.view import Fleet, Query, View

_PAGE = Path(__file__).parent / "page"
_SMALL = 512
"""Bytes that are not worth compressing."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
"""On every answer. Nothing is cached unasked: after an update, page and JSON are of one version."""

Answer = Callable[[Request], Response]


def app(settings: Dashboard, fleet: Fleet) -> Starlette:
    """The application that shows this fleet."""
    view = View(fleet)
    return Starlette(
        routes=[
            Route("/api/overview", _json(view.overview)),
            Route("/api/devices", _json(view.devices)),
            Route("/api/device", _json(view.device)),
            Mount("/", StaticFiles(directory=_PAGE, html=True)),
        ],
        middleware=[
            Middleware(_Guarded, names={"localhost", settings.host, socket.gethostname(), *settings.names}),
            Middleware(GZipMiddleware, minimum_size=_SMALL),
        ],
    )


class _Guarded:
    """Answers only under names of ours, so that no foreign page can make itself one; adds ``HEADERS``."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app, self._names = app, {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        name = _host(Headers(scope=scope).get("host", ""))
        ours = name.lower() in self._names or _is_address(name)
        await (self._app if ours else _not_ours(name))(scope, receive, send_with_headers)


def _host(text: str) -> str:
    """The name in a ``Host`` header; empty if there is none in it."""
    try:
        return urlsplit(f"//{text}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    """No foreign page can be behind an address: the browser calls it by its name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _not_ours(name: str) -> Response:
    return PlainTextResponse(f"unknown host {name!r}: add it to [dashboard] names", status_code=421)


def _json(find: Callable[[Query], object]) -> Answer:
    """What is asked for by the query."""

    def answer(request: Request) -> Response:
        try:
            query = msgspec.convert(dict(request.query_params), Query, strict=False)
        except msgspec.ValidationError as error:
            return PlainTextResponse(str(error), status_code=400)
        return _encoded(find(query))

    return answer


def _encoded(found: object) -> Response:
    if found is None:
        return PlainTextResponse("no such device", status_code=404)
    return Response(msgspec.json.encode(found), media_type="application/json")
