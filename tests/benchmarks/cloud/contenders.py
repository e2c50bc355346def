"""Who is measured, each as well configured as we know how to."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cloud_server.config import Server
from tests.benchmarks.cloud import nets
from tests.peers import servers
from tests.peers.servers import Peer
from tests.ports import free_port

Open = Callable[[Path, Path], AbstractContextManager[Peer]]
"""A server of this network, in a folder of its own."""

OURS, STREAM, BARE, ECHO = "Tidegate", "Tidegate, stream", "session.run", "empty gRPC echo"


@contextmanager
def tidegate(folder: Path, model: Path, **server: int) -> Iterator[Peer]:
    """Ours, as it comes but for these settings of ``[server]``."""
    port = free_port()
    environ = {f"TIDEGATE_SERVER__{key.upper()}": str(value) for key, value in server.items()}
    command = [sys.executable, "-m", "cloud_server", "run", model, "--port", port]
    environ["TIDEGATE_METRICS__PORT"] = "0"
    with servers.started(command, folder, (port, port), model.stem, environ) as peer:
        yield peer


@contextmanager
def echo(folder: Path, model: Path) -> Iterator[Peer]:
    """No server at all."""
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.cloud.echo", port]
    with servers.started(command, folder, (port, port), model.stem) as peer:
        yield peer


def _workers() -> dict[str, Open]:
    """Ours in two processes, where it can do that."""
    if "workers" not in Server.__struct_fields__:
        return {}
    return {f"{OURS}, 2 workers": partial(tidegate, workers=2)}


ALONE: dict[str, Open] = {
    OURS: tidegate,
    "MLServer": servers.mlserver,
    "KServe": servers.kserve,
    "Triton": servers.triton,
    ECHO: echo,
}
"""For one caller: batching and processes only cost it time."""
CROWD: dict[str, Open] = {
    OURS: tidegate,
    **_workers(),
    "MLServer": servers.mlserver,
    "MLServer, 2 threads a run": partial(servers.mlserver, threads=2),
    "KServe": servers.kserve,
    "KServe, runs in 2 threads": partial(servers.kserve, runs=2),
    "Triton, dynamic batching": partial(servers.triton, batch=16),
    "Triton, 2 instances": partial(servers.triton, instances=2),
    "Triton, 2 instances, dynamic batching": partial(servers.triton, instances=2, batch=16),
    ECHO: echo,
}
"""For many."""


@dataclass(frozen=True)
class Case:
    """What is measured together, by turns."""

    net: Callable[[Path], Path]
    pixels: int
    callers: int
    servers: dict[str, Open]
    streams: dict[str, str]
    """Contender -> server that it speaks to over a stream."""

    @property
    def title(self) -> str:
        """In words."""
        callers = "one caller" if self.callers == 1 else f"{self.callers} callers"
        return f"{self.net.__name__}, {3 * 4 * self.pixels**2:,} bytes a request, {callers}"


_STREAMS = {STREAM: OURS, "Triton, stream": "Triton", f"{ECHO}, stream": ECHO}
CASES = {
    "small-16": Case(nets.small, 96, 16, CROWD, {}),
    "mid-16": Case(nets.mid, 224, 16, CROWD, {}),
    "small-1": Case(nets.small, 96, 1, ALONE, _STREAMS),
    "mid-1": Case(nets.mid, 224, 1, ALONE, _STREAMS),
}


def bare() -> dict[str, int]:
    """Contender -> threads that run the network in the client's own process."""
    return {f"{BARE}, {threads} thread{'s' * (threads > 1)}": threads for threads in (1, os.cpu_count() or 1)}
