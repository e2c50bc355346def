"""How a server's calls are answered: by threads of ours, or by its own if grpcio is none that we know."""

import logging
from collections.abc import Callable
from typing import Any

import grpc

from cloud_server.calls.exchange import Exchange

log = logging.getLogger(__name__)


def start(
    server: grpc.Server,
    begin: Callable[[str, Any], Callable[[Exchange], object] | None],
    threads: int,
    before_waiting: Callable[[Callable[[], None]], object],
) -> None:
    """Let it answer, as ``Polling`` does, which gets ``begin``.

    ``before_waiting`` is told what is to be called in a thread that is going to wait.
    """
    try:
        from cloud_server.calls.polling import Polling

        polling = Polling(server, threads, begin)
    except (ImportError, AttributeError) as error:
        log.warning("grpcio %s is none that we know: calls take longer (%s)", grpc.__version__, error)
        server.start()
    else:
        before_waiting(polling.lookout.require)
        polling.start()
