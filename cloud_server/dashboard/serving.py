"""The page over HTTP, in a thread of its own.

uvicorn and not the server behind ``/metrics``: that one waits for a slow client for ever, a thread
each, and the page is for people, who come through proxies and telephones.
"""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

from cloud_server.config import Dashboard
from cloud_server.dashboard.view import Fleet
from cloud_server.errors import StartError
from cloud_server.listening import address, require_free

_GRACE = 2
"""Seconds that answers under way have when the server stops."""

log = logging.getLogger(__name__)


@contextmanager
def serve(settings: Dashboard, fleet: Fleet) -> Iterator[str]:
    """Show the fleet while inside; gives the page's address. ``StartError`` if it cannot be."""
    check(settings)
    import uvicorn

    from cloud_server.dashboard.app import app

    with socket.create_server((settings.host, settings.port), family=_family(settings.host)) as listener:
        options = uvicorn.Config(
            app(settings, fleet),
            access_log=False,
            http="h11",
            lifespan="off",
            log_config=None,
            loop="asyncio",
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
            ws="none",
        )
        server = uvicorn.Server(options)
        thread = Thread(target=server.run, args=([listener],), name="dashboard", daemon=True)
        thread.start()
        try:
            yield f"http://{address(settings.host, listener.getsockname()[1])}/"
        finally:
            server.should_exit = True
            thread.join()


def check(settings: Dashboard) -> None:
    """``StartError`` if the page cannot be served, now."""
    try:
        import starlette as _starlette  # noqa: F401 - only whether they are there
        import uvicorn as _uvicorn  # noqa: F401
    except ImportError:
        raise StartError(
            "[dashboard] needs starlette and uvicorn: pip install 'tidegate[dashboard]'"
        ) from None
    require_free("dashboard", settings.host, settings.port)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
