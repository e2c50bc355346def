"""Inference over HTTP, in a thread of its own; the work is done in others."""

import logging
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread
from typing import Any

from cloud_server.access.callers import Login
from cloud_server.config import CloudConfig, Rest
from cloud_server.errors import StartError
from cloud_server.inference.answering import Answering
from cloud_server.listening import address, require_free, require_private, shared
from cloud_server.metrics import Meter

log = logging.getLogger(__name__)


@contextmanager
def serve(
    config: CloudConfig, servicer: Any, answering: Answering, meter: Meter, login: Login
) -> Iterator[str]:
    """Answer while inside; gives the base of all addresses. On leaving, what is under way is answered."""
    settings = config.rest or Rest()
    check(config, settings)
    import uvicorn

    from cloud_server.rest import connection
    from cloud_server.rest.app import MOST, app

    host, family = settings.host, socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    pool = ThreadPoolExecutor(MOST + 1, "rest")
    with socket.create_server(
        (host, settings.port), family=family, reuse_port=shared(settings.port)
    ) as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # asyncio forgets it, and waits 40 ms
        options = uvicorn.Config(
            app(servicer, answering, meter, pool, login),
            access_log=False,
            http=connection.Connection,
            lifespan="off",
            log_config=None,
            loop="asyncio",
            server_header=False,
            timeout_graceful_shutdown=config.server.grace,  # type: ignore[arg-type] # half a second is one
            timeout_keep_alive=connection.SILENCE,
            ws="none",
        )
        options.load()
        if login.certificates:
            begun = meter.handshakes.labels("rest").inc
            options.ssl = login.certificates.for_asyncio(begun, login.refused)
        server = uvicorn.Server(options)
        thread = Thread(target=server.run, args=([listener],), name="rest", daemon=True)
        thread.start()
        try:
            scheme = "https" if config.tls else "http"
            url = f"{scheme}://{address(host, listener.getsockname()[1])}"
            log.info("REST on %s/v2", url)
            yield url
        finally:
            server.should_exit = True
            thread.join()
            pool.shutdown(wait=False)  # a run that takes longer ends when the models are stopped


def check(config: CloudConfig, settings: Rest) -> None:
    """``StartError`` if it cannot be served, now."""
    try:
        import starlette as _starlette  # noqa: F401 - only whether they are there
        import uvicorn as _uvicorn  # noqa: F401
    except ImportError:
        raise StartError("[rest] needs starlette and uvicorn: pip install 'tidegate[rest]'") from None
    require_private(config, "rest", settings.host)
    require_free("rest", settings.host, settings.port)
