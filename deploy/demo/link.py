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
import socket
import time
from collections.abc import Coroutine, Mapping
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


class Lane:
    """One direction of a forward: all its connections share the rate."""

    def __init__(self, profile: Profile, rate: float, seed: str) -> None:
        self.bytes = 0
        self.latency, self.jitter, self.rate = profile.latency, profile.jitter, rate
        self._random = random.Random(seed)  # noqa: S311 - jitter, no secret
        self._departure = 0.0

    def arrival(self, size: int, now: float) -> float:
        """When a chunk of `size` bytes that enters `now` comes out; counts it."""
        self.bytes += size
        self._departure = max(now, self._departure) + size / self.rate
        return self._departure + self.latency + self._random.uniform(-self.jitter, self.jitter)

    def carry(
        self, tasks: asyncio.TaskGroup, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry this direction of one connection until its end of file has arrived too."""
        writer.transport.set_write_buffer_limits(0)  # so that `drain` waits for the last byte
        on_the_way: _Queue = asyncio.Queue(IN_FLIGHT)
        tasks.create_task(self._enter(reader, on_the_way))
        tasks.create_task(self._leave(on_the_way, writer))

    async def travel(self, arrival: float) -> None:
        """Wait until a chunk's time has come."""
        await asyncio.sleep(arrival - time.monotonic())

    async def deliver(self, writer: asyncio.StreamWriter, chunk: bytes | None) -> None:
        """Write a chunk whose time has come; what comes for a socket that is gone goes nowhere."""
        if chunk is None:
            writer.transport.abort()
            return
        with suppress(OSError):
            await _write(writer, chunk)

    async def _enter(self, reader: asyncio.StreamReader, queue: _Queue) -> None:
        """Read chunks as they come; the end crosses the link behind what was sent before it."""
        chunk: bytes | None = b"."
        while chunk:
            try:
                chunk = await reader.read(CHUNK)
            except OSError:
                chunk = None
            await queue.put((self.arrival(len(chunk or b""), time.monotonic()), chunk))

    async def _leave(self, queue: _Queue, writer: asyncio.StreamWriter) -> None:
        """Deliver each chunk at its time, and never before the one it followed."""
        chunk: bytes | None = b"."
        while chunk:
            arrival, chunk = await queue.get()
            await self.travel(arrival)
            await self.deliver(writer, chunk)


async def _write(writer: asyncio.StreamWriter, chunk: bytes) -> None:
    if not chunk:
        writer.write_eof()
    elif not writer.is_closing():
        writer.write(chunk)
        await writer.drain()


class Forward:
    """A listening port whose connections cross the link to one target."""

    def __init__(self, target: tuple[str, int], up: Lane, down: Lane) -> None:
        self.port = 0
        self.ends: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        """Both ends of each connection that is open, the edge's first."""
        self._target = target
        self._up, self._down = up, down
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def counts(self) -> Counts:
        """The bytes and connections so far."""
        return Counts(self._up.bytes, self._down.bytes, self._connections)

    async def listen(self, listener: socket.socket) -> None:
        """Accept connections on a bound socket, until `refuse`."""
        self._server = await asyncio.start_server(self._accept, sock=listener, limit=CHUNK)
        self.port = listener.getsockname()[1]

    def refuse(self) -> None:
        """Stop listening; connections that are open stay so."""
        self._server.close()

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
        ends = (edge_out, cloud_out)
        self.ends.add(ends)
        try:
            async with asyncio.TaskGroup() as tasks:
                self._up.carry(tasks, edge_in, cloud_out)
                self._down.carry(tasks, cloud_in, edge_out)
        finally:
            self.ends.discard(ends)
            cloud_out.transport.abort()


class Link:
    """The network: opens forwards between `__enter__` and `__exit__`, in a thread of its own."""

    def __init__(self, profile: Profile, seed: int = 0) -> None:
        self._profile = profile
        self._seed = seed
        self._forwards: list[Forward] = []
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
        profile, seed = self._profile, f"{self._seed}/{len(self._forwards)}"
        up, down = Lane(profile, profile.up, f"{seed}/up"), Lane(profile, profile.down, f"{seed}/down")
        return self.open(Forward((host, port), up, down), socket.create_server((HOST, 0)))

    def open(self, forward: Forward, listener: socket.socket) -> Forward:
        """Let a forward accept connections on a bound socket."""
        self._forwards.append(forward)
        self.do(forward.listen(listener))
        return forward

    def do(self, work: Coroutine[None, None, None]) -> None:
        """Run something in the thread of the link, and wait for it."""
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

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
        for forward in self._forwards:
            forward.refuse()
        # the runner cancels what still crosses, which closes its sockets
