"""One direction through the fault proxy. Everything here runs in the proxy's thread."""

import asyncio
import math
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from weakref import WeakKeyDictionary, WeakSet

from deploy.demo.link import Lane, Profile

UNHINDERED = Profile(latency=0.0, jitter=0.0, up=math.inf, down=math.inf)


class FaultyLane(Lane):
    """A lane that can be slow, block, corrupt, lose a connection, or have one cut."""

    def __init__(self, seed: str, cut: Callable[[asyncio.StreamWriter], None]) -> None:
        super().__init__(UNHINDERED, math.inf, seed)
        self._cut = cut
        self._flips = random.Random(f"{seed}/flips")
        self._lost: WeakSet[asyncio.StreamWriter] = WeakSet()
        self._clear, self._healed = asyncio.Event(), asyncio.Event()
        self.heal()

    def heal(self) -> None:
        """No fault from here on; what is on its way arrives."""
        self._healed.set()
        self._healed = asyncio.Event()
        self._clear.set()
        self.shape(0.0, 0.0, math.inf)
        self.cut_after(None)
        self.corrupt(0.0)

    def shape(self, latency: float, jitter: float, rate: float) -> None:
        """Seconds and bytes a second for what enters from here on."""
        self.latency, self.jitter, self.rate = latency, jitter, rate
        self._departure = 0.0

    def block(self) -> None:
        """Deliver nothing."""
        self._clear.clear()

    def lose(self, writers: Iterable[asyncio.StreamWriter]) -> None:
        """Never deliver anything to these."""
        self._lost.update(writers)

    def cut_after(self, allowance: int | None) -> None:
        """Have each connection cut when so many more bytes have been delivered."""
        self._allowance = allowance
        self._used: WeakKeyDictionary[asyncio.StreamWriter, int] = WeakKeyDictionary()

    def corrupt(self, probability: float) -> None:
        """Flip a bit of a byte with this probability."""
        self._probability = probability

    async def travel(self, arrival: float) -> None:
        """Wait until a chunk's time has come, or the lane is healed."""
        if arrival > time.monotonic():
            with suppress(TimeoutError):
                async with asyncio.timeout_at(arrival):
                    await self._healed.wait()

    async def deliver(self, writer: asyncio.StreamWriter, chunk: bytes | None) -> None:
        """Write a chunk as the faults of this moment have it."""
        await self._clear.wait()
        if writer in self._lost:
            await asyncio.Event().wait()  # until the proxy is closed
        if not chunk or self._allowance is None:
            return await super().deliver(writer, chunk and self._corrupted(chunk))
        left = self._allowance - self._used.get(writer, 0)
        self._used[writer] = self._used.get(writer, 0) + len(chunk)
        if left > 0:
            await super().deliver(writer, self._corrupted(chunk[:left]))
        if len(chunk) >= left:
            self._cut(writer)
        return None

    def _corrupted(self, chunk: bytes) -> bytes:
        if not self._probability:
            return chunk
        return bytes(
            byte ^ 1 << self._flips.randrange(8) if self._flips.random() < self._probability else byte
            for byte in chunk
        )
