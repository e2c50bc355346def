"""How a server's calls are answered: by threads of ours, or by its own if grpcio is none that we know."""

import logging
from collections.abc import Callable, Mapping

import grpc

from cloud_server.calls.exchange import Exchange

log = logging.getLogger(__name__)


def start(
    server: grpc.Server,
    begin: Mapping[str, Callable[[Exchange], object]],
    threads: int,
    before_waiting: Callable[[Callable[[], None]], object],
) -> None:
    """Let it answer, as ``Polling`` does.

    ``before_waiting`` is told what is to be called in a thread that is going to wait.
    """
    try:
        from cloud_server.calls.polling import Polling

        polling = Polling(server, threads, begin)
    except (ImportError, AttributeError, KeyError) as error:
        log.warning("grpcio %s is none that we know: calls take longer (%s)", grpc.__version__, error)
        server.start()
    else:
        before_waiting(polling.lookout.require)
        polling.start()
