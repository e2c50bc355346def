"""A TCP proxy on loopback that stands for the network between edge and cloud.

It delays and paces whole chunks of bytes, in order; nothing is lost, as TCP would repair a loss at
the price of time. The handshake of a connection is not delayed.

Where the figures come from: `lte` has WebPageTest's profile "LTE" (12 Mbit/s both ways, 70 ms round
trip) and `poor` its "Mobile 3G" (1.6 Mbit/s down, 768 kbit/s up, 300 ms round trip); `wifi` is an
802.11n access point that others use too, and `lan` a switched gigabit Ethernet. The jitter is our
own choice, a quarter to a half of the latency on radio.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from selectors import SelectSelector
from threading import Event, Thread
from types import MappingProxyType
from typing import Self, TypeAlias

from deploy.demo.processes import HOST

CHUNK = 16 * 1024
"""The most that travels as one piece, bytes."""
IN_FLIGHT = 64
"""Chunks of one connection and direction on their way; beyond it the sender has to wait."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How a network behaves, the same for all that crosses it."""

    latency: float
    """One way, seconds."""
    jitter: float
    """The most that the latency of a chunk differs from `latency`, seconds; evenly spread."""
    up: float
    """From the edge to the cloud, bytes per second."""
    down: float
    """From the cloud to the edge, bytes per second."""


def _mbit(rate: float) -> float:
    return rate * 1e6 / 8


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "lan": Profile(latency=0.0002, jitter=0.0001, up=_mbit(1000), down=_mbit(1000)),
        "wifi": Profile(latency=0.003, jitter=0.0015, up=_mbit(30), down=_mbit(60)),
        "lte": Profile(latency=0.035, jitter=0.010, up=_mbit(12), down=_mbit(12)),
        "poor": Profile(latency=0.150, jitter=0.050, up=_mbit(0.768), down=_mbit(1.6)),
    }
)


@dataclass(frozen=True, slots=True)
class Counts:
    """What entered one forward: bytes of the sockets, so all of HTTP/2 and MQTT but no TCP/IP header."""

    sent: int
    """Bytes from the edge."""
    received: int
    """Bytes from the cloud."""
    connections: int
    """Connections accepted so far."""


_Queue: TypeAlias = "asyncio.Queue[tuple[float, bytes | None]]"
"""Chunks on their way with the time of arrival; empty for the end of one direction, None for a reset."""


class _Lane:
    """One direction of a forward: all its connections share the rate."""

    def __init__(self, profile: Profile, rate: float, seed: str) -> None:
        self.bytes = 0
        self._profile = profile
        self._rate = rate
        self._random = random.Random(seed)  # noqa: S311 - jitter, no secret
        self._departure = 0.0

    def arrival(self, size: int, now: float) -> float:
        """When a chunk of `size` bytes that enters `now` comes out; counts it."""
        self.bytes += size
        self._departure = max(now, self._departure) + size / self._rate
        jitter = self._profile.jitter
        return self._departure + self._profile.latency + self._random.uniform(-jitter, jitter)


class Forward:
    """A listening port whose connections cross the link to one target."""

    def __init__(self, target: tuple[str, int], profile: Profile, seed: str) -> None:
        self.port = 0
        self._target = target
        self._up = _Lane(profile, profile.up, f"{seed}/up")
        self._down = _Lane(profile, profile.down, f"{seed}/down")
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def counts(self) -> Counts:
        """The bytes and connections so far."""
        return Counts(self._up.bytes, self._down.bytes, self._connections)

    async def listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._accept, HOST, 0, limit=CHUNK)
        self.port = server.sockets[0].getsockname()[1]
        return server

    def _accept(self, edge_in: asyncio.StreamReader, edge_out: asyncio.StreamWriter) -> None:
        self._connections += 1
        task = asyncio.create_task(self._cross(edge_in, edge_out))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: edge_out.transport.abort())

    async def _cross(self, edge_in: asyncio.StreamReader, edge_out: asyncio.StreamWriter) -> None:
        """Carry a connection until both directions have ended."""
        try:
            cloud_in, cloud_out = await asyncio.open_connection(*self._target, limit=CHUNK)
        except OSError:
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                _carry(tasks, edge_in, self._up, cloud_out)
                _carry(tasks, cloud_in, self._down, edge_out)
        finally:
            cloud_out.transport.abort()


def _carry(
    tasks: asyncio.TaskGroup, reader: asyncio.StreamReader, lane: _Lane, writer: asyncio.StreamWriter
) -> None:
    """Carry one direction of one connection until its end of file has arrived too."""
    writer.transport.set_write_buffer_limits(0)  # so that `drain` waits for the last byte
    on_the_way: _Queue = asyncio.Queue(IN_FLIGHT)
    tasks.create_task(_enter(reader, lane, on_the_way))
    tasks.create_task(_leave(on_the_way, writer))


async def _enter(reader: asyncio.StreamReader, lane: _Lane, queue: _Queue) -> None:
    """Read chunks as they come; the end crosses the link behind what was sent before it."""
    arrival = 0.0
    chunk: bytes | None = b"."
    while chunk:
        try:
            chunk = await reader.read(CHUNK)
        except OSError:
            chunk = None
        arrival = max(arrival, lane.arrival(len(chunk or b""), time.monotonic()))
        await queue.put((arrival, chunk))


async def _leave(queue: _Queue, writer: asyncio.StreamWriter) -> None:
    """Write each chunk at its time; what comes for a socket that is gone goes nowhere."""
    while True:
        arrival, chunk = await queue.get()
        await asyncio.sleep(arrival - time.monotonic())
        if chunk is None:
            writer.transport.abort()
            return
        with suppress(OSError):
            await _write(writer, chunk)
        if not chunk:
            return


async def _write(writer: asyncio.StreamWriter, chunk: bytes) -> None:
    if not chunk:
        writer.write_eof()
    elif not writer.is_closing():
        writer.write(chunk)
        await writer.drain()


class Link:
    """The network: opens forwards between `__enter__` and `__exit__`, in a thread of its own."""

    def __init__(self, profile: Profile, seed: int = 0) -> None:
        self._profile = profile
        self._seed = seed
        self._forwards = 0
        self._servers: list[asyncio.Server] = []
        self._ready = Event()

    def __enter__(self) -> Self:
        self._thread = Thread(target=self._main, name="link", daemon=True)
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        """Cut every connection and stop listening."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def forward(self, host: str, port: int) -> Forward:
        """A new way across the link to `host:port`, with a count of its own."""
        forward = Forward((host, port), self._profile, seed=f"{self._seed}/{self._forwards}")
        self._forwards += 1
        self._servers.append(asyncio.run_coroutine_threadsafe(forward.listen(), self._loop).result())
        return forward

    def _main(self) -> None:
        # select() keeps time to the microsecond, the default epoll rounds up to a millisecond; the
        # price is a bound of 1024 sockets.
        with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(SelectSelector())) as runner:
            runner.run(self._run())

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()
        for server in self._servers:
            server.close()
        # the runner cancels what still crosses, which closes its sockets
