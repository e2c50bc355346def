"""A TCP proxy on loopback whose network fails when a test says so, under connections that are open.

::

    with Proxy(host, port) as proxy:  # the victim connects to HOST, proxy.port
        proxy.blackhole()             # from here on nothing arrives
        proxy.heal()                  # from here on everything does, what waited included

A fault is in force when its method returns and lasts until ``heal``; it strikes the connections that
are open and new ones, unless it says otherwise. Faults add up. Without any, nothing is delayed.
"""

import asyncio
import math
import socket
import struct
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Literal, Self

from deploy.demo.link import Counts, Forward, Link
from deploy.demo.processes import HOST
from tests.faults.lane import UNHINDERED, FaultyLane

Direction = Literal["up", "down", "both"]
"""Up is from the one that connects to the one that listens."""
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """Stands before ``host:port``; see above. ``seed`` decides jitter and corruption."""

    def __init__(self, host: str, port: int, seed: int = 0) -> None:
        self._up, self._down = (FaultyLane(f"{seed}/{way}", self._cut) for way in ("up", "down"))
        self._forward = Forward((host, port), self._up, self._down)
        self._link = Link(UNHINDERED)
        self._refusing = False

    def __enter__(self) -> Self:
        """Listen. A socket that never does holds the port for us while we refuse."""
        self._holder = _bound(0)
        self.port: int = self._holder.getsockname()[1]
        self._link.__enter__()
        self._link.open(self._forward, _bound(self.port))
        return self

    def __exit__(self, *_: object) -> None:
        """Cut every connection and free the port."""
        self._link.__exit__()
        self._holder.close()

    @property
    def target(self) -> str:
        """``host:port`` to connect to."""
        return f"{HOST}:{self.port}"

    def counts(self) -> Counts:
        """Bytes that came in each way, and connections accepted, so far."""
        return self._forward.counts()

    def shape(
        self,
        latency: float = 0.0,
        jitter: float = 0.0,
        rate: float = math.inf,
        direction: Direction = "both",
    ) -> None:
        """Delay what comes in from here on by ``latency`` ± ``jitter`` s, at ``rate`` bytes a second."""
        self._change(direction, lambda lane: lane.shape(latency, jitter, rate))

    def blackhole(self, direction: Direction = "both") -> None:
        """Accept and forward nothing, no end either: it arrives on ``heal``, as TCP would resend it."""
        self._change(direction, FaultyLane.block)

    def half_open(self) -> None:
        """Make both sides of each open connection lose the other for good, and tell neither."""
        self._do(self._half_open())

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        self._do(self._refuse())

    def reset(self, after: int = 0, direction: Direction = "up") -> None:
        """Reset the open connections now; or each, new ones too, once ``after`` more bytes have crossed."""
        if after:
            self._change(direction, lambda lane: lane.cut_after(after))
        else:
            self._do(self._reset())

    def corrupt(self, probability: float, direction: Direction = "both") -> None:
        """Flip a bit of a byte with this probability."""
        self._change(direction, lambda lane: lane.corrupt(probability))

    def heal(self) -> None:
        """End every fault; what is on its way arrives now. What is half open stays so."""
        self._change("both", FaultyLane.heal)
        if self._refusing:
            self._do(self._listen())

    def _change(self, direction: Direction, change: Callable[[FaultyLane], None]) -> None:
        lanes = {"up": [self._up], "down": [self._down], "both": [self._up, self._down]}[direction]

        async def work() -> None:
            for lane in lanes:
                change(lane)

        self._do(work())

    def _do(self, work: Coroutine[None, None, None]) -> None:
        self._link.do(work)

    async def _half_open(self) -> None:
        lost = {end for ends in self._forward.ends for end in ends}
        self._forward.ends.clear()  # so that no reset tells them
        self._up.lose(lost)
        self._down.lose(lost)

    async def _refuse(self) -> None:
        self._forward.refuse()
        self._refusing = True

    async def _listen(self) -> None:
        await self._forward.listen(_bound(self.port))
        self._refusing = False

    async def _reset(self) -> None:
        for ends in self._forward.ends:
            _reset(*ends)

    def _cut(self, writer: asyncio.StreamWriter) -> None:
        """Reset the connection that one of its ends belongs to."""
        for ends in self._forward.ends:
            if writer in ends:
                _reset(*ends)


def _reset(*ends: asyncio.StreamWriter) -> None:
    for end in ends:
        with suppress(OSError):  # closed already
            end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        end.transport.abort()


def _bound(port: int) -> socket.socket:
    """A socket on that port, which another of ours may share."""
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind((HOST, port))
    return bound
