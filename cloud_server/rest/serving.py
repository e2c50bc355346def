"""Inference over HTTP, in a thread of its own; the work is done in others."""

import logging
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Thread
from typing import Any

from cloud_server.config import CloudConfig, Rest
from cloud_server.errors import StartError
from cloud_server.inference.answering import Answering
from cloud_server.listening import address, credentials, require_free, require_private, shared
from cloud_server.metrics import Meter

MOST = 64
"""Requests at once; any other is refused at once, by a 503."""

log = logging.getLogger(__name__)


@contextmanager
def serve(config: CloudConfig, servicer: Any, answering: Answering, meter: Meter) -> Iterator[str]:
    """Answer while inside; gives the base of all addresses. On leaving, what is under way is answered."""
    settings = config.rest or Rest()
    check(config, settings)
    import uvicorn

    from cloud_server.rest.app import app

    host, family = settings.host, socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with (
        ThreadPoolExecutor(thread_name_prefix="rest") as pool,
        socket.create_server(
            (host, settings.port), family=family, reuse_port=shared(settings.port)
        ) as listener,
    ):
        options = uvicorn.Config(
            app(servicer, answering, meter, pool),
            access_log=False,
            http="h11",
            lifespan="off",
            limit_concurrency=MOST,
            log_config=None,
            loop="asyncio",
            server_header=False,
            timeout_graceful_shutdown=round(config.server.grace),
            ws="none",
            **_encryption(config),
        )
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


def check(config: CloudConfig, settings: Rest) -> None:
    """``StartError`` if it cannot be served, now."""
    try:
        import starlette as _starlette  # noqa: F401 - only whether they are there
        import uvicorn as _uvicorn  # noqa: F401
    except ImportError:
        raise StartError("[rest] needs starlette and uvicorn: pip install 'tidegate[rest]'") from None
    require_private(config, "rest", settings.host)
    require_free("rest", settings.host, settings.port)
    if config.tls:
        credentials(config.tls)


def _encryption(config: CloudConfig) -> dict[str, Any]:
    """As for gRPC: TLS, mutual if there is an authority for clients."""
    if config.tls is None:
        return {}
    authority = config.tls.client_ca
    return {
        "ssl_certfile": config.tls.cert,
        "ssl_keyfile": config.tls.key,
        "ssl_ca_certs": str(authority) if authority else None,
        "ssl_cert_reqs": ssl.CERT_REQUIRED if authority else ssl.CERT_NONE,
    }
